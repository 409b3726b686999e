"""Round trips of a 64-byte message over one websocket, opened through each proxy (and directly) to the
same echo server: blocks of 500, 40 of each, interleaved; the medians of the blocks'
p50 and p99. The upstreams are as for the engines: plain for HAProxy, nginx (one static route) and CHP,
verified TLS beside it. Apache passes websockets to the service, which always verifies a session's
certificate. The figures include the echo server's own TLS; the last two rows show its share."""

from __future__ import annotations

import asyncio
import ssl
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from benchmarks import chp
from benchmarks.load import nginx
from benchmarks.processes import ADDRESS, FailedError, free_port, server
from benchmarks.report import Row, at_most, beside
from benchmarks.service import service

NEEDS: tuple[str, ...] = ("npm", "nginx", "haproxy", "apache2")
BLOCKS = 40
ROUND_TRIPS = 500
MESSAGE = b"x" * 64
AGAINST = (
    ("embedded", "chp"),
    ("embedded", "chp verified"),
    ("haproxy", "nginx"),
    ("haproxy", "chp"),
)
BESIDE = ("haproxy verified", "apache verified", "direct", "direct TLS")


@dataclass(slots=True)
class _Way:
    name: str
    url: str
    trust: ssl.SSLContext | None
    p50: list[float] = field(default_factory=list)  # microseconds, one for each block
    p99: list[float] = field(default_factory=list)


def measure(scratch: Path) -> list[Row]:
    """Ours against CHP's and nginx's; beside it no proxy at all."""
    with ExitStack() as stack:
        ways = _ways(stack, scratch)
        asyncio.run(_blocks(tuple(ways.values())))
    rows = []
    for name, against in AGAINST:
        for figure in ("p50", "p99"):
            mine, limit = getattr(ways[name], figure), getattr(ways[against], figure)
            rows.append(
                at_most(
                    f"websocket round trip, {ways[name].name}, {figure}",
                    statistics.median(mine), statistics.median(limit), "µs", of=ways[against].name,
                )
            )  # fmt: skip
    rows += [
        beside(
            f"websocket round trip, {ways[name].name}, p50", statistics.median(ways[name].p50), "µs"
        )
        for name in BESIDE
    ]
    return rows


def _ways(stack: ExitStack, scratch: Path) -> dict[str, _Way]:
    folder = scratch / "websocket"
    folder.mkdir()
    installed = chp.install(scratch)
    services = {
        engine: stack.enter_context(service(folder / engine, engine))
        for engine in ("embedded", "haproxy", "apache")
    }
    sessions = {engine: running.issue() for engine, running in services.items()}
    plain, theirs = free_port(), free_port()
    ports = {engine: free_port() for engine in services}
    command = [
        sys.executable,
        "-P",
        "-m",
        "benchmarks.upstream",
        str(plain),
        f"{theirs}:{installed.pem}",
    ]
    command += [
        f"{port}:{sessions[engine].certificate(folder / f'{engine}.pem')}"
        for engine, port in ports.items()
    ]
    # It opens its ports in this order, so the last one shows that all are there.
    stack.enter_context(server(command, ports["apache"], folder / "upstream.log"))
    ways = {}
    for engine, running in services.items():
        sessions[engine].redeem(ports[engine])
        url = f"wss://{sessions[engine].host}:{running.port}/echo"
        key = engine if engine == "embedded" else f"{engine} verified"
        ways[key] = _Way(f"{engine}, verified TLS upstream", url, running.trust)
    haproxy = services["haproxy"]
    url = f"wss://{haproxy.plain_route(plain)}:{haproxy.port}/echo"
    ways["haproxy"] = _Way("haproxy, plain upstream", url, haproxy.trust)
    _, to_plain = stack.enter_context(installed.proxy(f"http://{ADDRESS}:{plain}"))
    _, to_verified = stack.enter_context(installed.proxy(f"https://localhost:{theirs}"))
    to_nginx = stack.enter_context(_nginx(folder, installed.pem, plain))
    trust = ssl.create_default_context(cafile=installed.ca)
    name = f"CHP {installed.version}"
    ways |= {
        "nginx": _Way("nginx, plain upstream", f"wss://localhost:{to_nginx}/echo", trust),
        "chp": _Way(f"{name}, plain upstream", f"wss://localhost:{to_plain}/echo", trust),
        "chp verified": _Way(
            f"{name}, verified TLS upstream", f"wss://localhost:{to_verified}/echo", trust
        ),
        "direct": _Way("no proxy, plain", f"ws://localhost:{plain}/echo", None),
        "direct TLS": _Way("no proxy, TLS", f"wss://localhost:{theirs}/echo", trust),
    }
    return ways


@contextmanager
def _nginx(scratch: Path, pem: Path, upstream: int) -> Iterator[int]:
    """nginx with one static route that carries websockets; its port."""
    port = free_port()
    http = f"""
    server {{
        listen {ADDRESS}:{port} ssl;
        ssl_certificate {pem};
        ssl_certificate_key {pem};
        location / {{
            proxy_pass http://{ADDRESS}:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_set_header Host $host;
        }}
    }}"""
    with nginx(scratch, http, port, "master_process off;"):
        yield port


class Loopback(AbstractResolver):
    """Every name is this machine: the C library does not know `*.localhost`."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        """Loopback."""
        return [
            ResolveResult(hostname=host, host=ADDRESS, port=port, family=family, proto=0, flags=0)
        ]

    async def close(self) -> None:
        """Nothing."""


async def _blocks(ways: tuple[_Way, ...]) -> None:
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(resolver=Loopback())
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
