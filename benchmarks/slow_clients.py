"""A page of a notebook and a call of the API, each over its own connection with its handshake, and a
round trip of 64 bytes over an open websocket: the p99 of 400, 400 and 2,000 of them, through each engine,
without other load and then beside 4,000 slow connections of another address, which are opened again when
they are closed (`slow_attack`). The attack, the engine and the clients share this machine's cores, so the
figures include the cost of the attack's own handshakes. Settings are the defaults, except for limits on
names."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path

import aiohttp

from benchmarks.processes import FailedError, free_port, server
from benchmarks.report import Row, at_most, beside
from benchmarks.service import DOMAIN, Service, service
from benchmarks.websocket import Loopback

NEEDS: tuple[str, ...] = ("haproxy", "apache2")
SLOW = 4000
PAGES, CALLS, ROUND_TRIPS = 400, 400, 2000
TIMES_SLOWER = 10  # beside the attack; what is out of reach is slower by much more
MESSAGE = b"x" * 64


def measure(scratch: Path) -> list[Row]:
    """Each engine, quiet and attacked."""
    folder = scratch / "slow_clients"
    folder.mkdir()
    rows: list[Row] = []
    for engine, workers in (("embedded", 1), ("embedded", 2), ("haproxy", 1), ("apache", 1)):
        name = f"{engine}, {workers} workers" if workers > 1 else engine
        with ExitStack() as stack:
            running = stack.enter_context(service(folder / f"{engine}-{workers}", engine, workers))
            session = running.issue()
            pem = session.certificate(folder / f"{engine}-{workers}.pem")
            port = free_port()
            command = [sys.executable, "-P", "-m", "benchmarks.upstream", f"{port}:{pem}"]
            stack.enter_context(server(command, port, folder / "upstream.log"))
            session.redeem(port)
            quiet, attacked = asyncio.run(_both(running, session.host))
        for what, before in quiet.items():
            after = attacked[what]
            rows += [
                beside(f"{what}, {name}, p99", before * 1e3, "ms"),
                at_most(
                    f"{what}, {name}, p99 beside {SLOW:,} slow connections",
                    after * 1e3, TIMES_SLOWER * before * 1e3, "ms", of=f"{TIMES_SLOWER} times that",
                ),
            ]  # fmt: skip
    return rows


async def _both(running: Service, host: str) -> tuple[dict[str, float], dict[str, float]]:
    """Return the p99 of each, in seconds, without and with the attack."""
    url = f"wss://{host}:{running.port}/echo"
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Loopback())) as client,
        client.ws_connect(url, ssl=running.trust, compress=0) as websocket,
    ):
        quiet = await _figures(running, host, websocket)
        with _attack(running.port):
            attacked = await _figures(running, host, websocket)
    return quiet, attacked


async def _figures(
    running: Service, host: str, websocket: aiohttp.ClientWebSocketResponse
) -> dict[str, float]:
    async def meanwhile(do: Callable[[], None], times: int) -> float:
        """As `_p99`; the websocket answers pings meanwhile."""
        measuring = asyncio.create_task(asyncio.to_thread(_p99, do, times))
        while not (await asyncio.wait([measuring], timeout=10))[0]:
            await _round_trip(websocket)
        return measuring.result()

    pages = await meanwhile(lambda: _get(running, host, "/download?bytes=1024"), PAGES)
    calls = await meanwhile(lambda: _get(running, f"manage.{DOMAIN}", "/api/v1/health"), CALLS)
    trips = [await _round_trip(websocket) for _ in range(ROUND_TRIPS)]
    return {"a page": pages, "a call": calls, "a round trip": _ninety_ninth(trips)}


async def _round_trip(websocket: aiohttp.ClientWebSocketResponse) -> float:
    began = time.perf_counter()
    await websocket.send_bytes(MESSAGE)
    await websocket.receive_bytes(timeout=60)
    return time.perf_counter() - began


def _get(running: Service, host: str, path: str) -> None:
    connection = running.connection(host)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
    except (OSError, HTTPException) as error:
        raise FailedError(f"{host}{path}: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise FailedError(f"{host}{path}: {response.status}")


def _p99(do: Callable[[], None], times: int) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        do()
        took.append(time.perf_counter() - began)
    return _ninety_ninth(took)


def _ninety_ninth(took: list[float]) -> float:
    return sorted(took)[len(took) * 99 // 100]


@contextmanager
def _attack(port: int) -> Iterator[None]:
    command = [sys.executable, "-P", "-m", "benchmarks.slow_attack", str(port), str(SLOW)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attack:
        try:
            assert attack.stdout
            if attack.stdout.readline() != "opened\n":
                raise FailedError("the slow clients do not start")
            yield
        finally:
            attack.kill()
