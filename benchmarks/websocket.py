"""Round trips of a 64-byte message over one websocket, opened through each proxy (and directly) to the
same echo server: blocks of 500, 40 of each, interleaved; the p50 and p99 of each block, and of these the
medians. The upstreams are as for the engine. That the echo server itself speaks TLS, which CHP's plain
upstream does not, is part of the figure; the last two rows show how much that is."""

from __future__ import annotations

import asyncio
import ssl
import statistics
import sys
import time
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from benchmarks import chp
from benchmarks.processes import ADDRESS, FailedError, free_port, server
from benchmarks.report import Row, at_most, beside
from benchmarks.service import service

NEEDS: tuple[str, ...] = ("npm",)
BLOCKS = 40
ROUND_TRIPS = 500
MESSAGE = b"x" * 64


@dataclass(slots=True)
class _Way:
    name: str
    url: str
    trust: ssl.SSLContext | None
    p50: list[float] = field(default_factory=list)  # microseconds, one for each block
    p99: list[float] = field(default_factory=list)


def measure(scratch: Path) -> list[Row]:
    """Ours against both of CHP's; beside it no proxy at all."""
    with ExitStack() as stack:
        ways = _ways(stack, scratch)
        asyncio.run(_blocks(ways))
    ours, plain, verified, *direct = ways
    rows = []
    for other in (plain, verified):
        for name, mine, limit in (("p50", ours.p50, other.p50), ("p99", ours.p99, other.p99)):
            rows.append(
                at_most(
                    f"websocket round trip, {ours.name}, {name}",
                    statistics.median(mine),
                    statistics.median(limit),
                    "µs",
                    of=other.name,
                )
            )
    rows += [
        beside(f"websocket round trip, {way.name}, p50", statistics.median(way.p50), "µs")
        for way in direct
    ]
    return rows


def _ways(stack: ExitStack, scratch: Path) -> tuple[_Way, ...]:
    installed = chp.install(scratch)
    running = stack.enter_context(service(scratch / "websocket"))
    session = running.issue()
    pem = session.certificate(scratch / "websocket" / "session.pem")
    plain, theirs, ours = free_port(), free_port(), free_port()
    command = [sys.executable, "-P", "-m", "benchmarks.upstream"]
    command += [str(plain), f"{theirs}:{installed.pem}", f"{ours}:{pem}"]
    # It opens its ports in this order, so the last tells that all are there.
    stack.enter_context(server(command, ours, scratch / "websocket" / "upstream.log"))
    session.redeem(ours)
    _, to_plain = stack.enter_context(installed.proxy(f"http://{ADDRESS}:{plain}"))
    _, to_verified = stack.enter_context(installed.proxy(f"https://localhost:{theirs}"))
    trust = ssl.create_default_context(cafile=installed.ca)
    name = f"CHP {installed.version}"
    return (
        _Way(
            "embedded, verified TLS upstream",
            f"wss://{session.host}:{running.port}/echo",
            running.trust,
        ),
        _Way(f"{name}, plain upstream", f"wss://localhost:{to_plain}/echo", trust),
        _Way(f"{name}, verified TLS upstream", f"wss://localhost:{to_verified}/echo", trust),
        _Way("no proxy, plain", f"ws://localhost:{plain}/echo", None),
        _Way("no proxy, TLS", f"wss://localhost:{theirs}/echo", trust),
    )


class _Loopback(AbstractResolver):
    """Every name is this machine: the C library does not know `*.localhost`."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=ADDRESS, port=port, family=family, proto=0, flags=0)
        ]

    async def close(self) -> None:
        pass


async def _blocks(ways: tuple[_Way, ...]) -> None:
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(resolver=_Loopback())
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        sockets = [
            await stack.enter_async_context(session.ws_connect(way.url, ssl=way.trust or True))
            for way in ways
        ]
        for socket in sockets:
            await _round_trips(socket)  # warm
        for _ in range(BLOCKS):
            for way, socket in zip(ways, sockets, strict=True):
                took = sorted(await _round_trips(socket))
                way.p50.append(took[len(took) // 2])
                way.p99.append(took[len(took) * 99 // 100])


async def _round_trips(socket: aiohttp.ClientWebSocketResponse) -> list[float]:
    took = []
    for _ in range(ROUND_TRIPS):
        begun = time.perf_counter()
        await socket.send_bytes(MESSAGE)
        if await socket.receive_bytes() != MESSAGE:
            raise FailedError("the echo is another")
        took.append((time.perf_counter() - begun) * 1e6)
    return took
