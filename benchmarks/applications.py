"""Requests and websocket round trips to one program on a port of the node, through the Jupyter of a
session and through a plain JupyterLab with jupyter-server-proxy (`/proxy/PORT/`), both with TLS and the same
certificate: 60 pairs of short blocks in turns, of 80 requests with four connections and of 80 round trips of
64 bytes. The figure is the median of the pairs' ratios, so that other work on the machine, which comes and
goes, meets both. The service is not in between: its share is in the engines' figures."""

from __future__ import annotations

import asyncio
import ssl
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from benchmarks.processes import free_port, server
from benchmarks.report import Row, at_least, at_most, beside
from tests.stands.agent import DOMAIN, JUPYTER, NAME, TOKEN, agent, event, make_session, stand_in

NEEDS: tuple[str, ...] = ()
PAIRS = 60
REQUESTS = 80
CONNECTIONS = 4
ROUND_TRIPS = 80
MESSAGE = "x" * 64
TOLERANCE = 0.10  # issue 14: within 10 % of jupyter-server-proxy without rps
_ECHO = """\
import sys
from aiohttp import WSMsgType, web
async def page(request):
    return web.Response(body=b"x" * 10_000)
async def echo(request):
    channel = web.WebSocketResponse()
    await channel.prepare(request)
    async for message in channel:
        if message.type is WSMsgType.TEXT:
            await channel.send_str(message.data)
    return channel
app = web.Application()
app.add_routes([web.get("/page", page), web.get("/echo", echo)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""


@dataclass(slots=True)
class _Way:
    name: str
    base: str
    rates: list[float] = field(default_factory=list)  # requests a second, one for each block
    trips: list[float] = field(default_factory=list)  # microseconds, the median of each block


def measure(scratch: Path) -> list[Row]:
    """Compare a session's Jupyter with a plain one."""
    with ExitStack() as stack:
        ways = stack.enter_context(_both(scratch))
        asyncio.run(_blocks(ways))
    ours, plain = ways
    of = "jupyter-server-proxy without rps"
    return [
        beside(f"requests to an application, {of}", statistics.median(plain.rates), "requests/s"),
        at_least(
            "requests to an application, times those without rps",
            _ratio(ours.rates, plain.rates), 1 - TOLERANCE, "",
        ),
        beside(f"websocket round trip to an application, p50, {of}", statistics.median(plain.trips), "µs"),
        at_most(
            "websocket round trip to an application, p50, times that without rps",
            _ratio(ours.trips, plain.trips), 1 + TOLERANCE, "",
        ),
    ]  # fmt: skip


def _ratio(ours: list[float], plain: list[float]) -> float:
    """Return the median of the pairs' ratios."""
    return statistics.median(one / other for one, other in zip(ours, plain, strict=True))


@contextmanager
def _both(scratch: Path) -> Iterator[list[_Way]]:
    port, other = free_port(), free_port()
    with ExitStack() as stack:
        enter = stack.enter_context
        enter(server([sys.executable, "-c", _ECHO, str(port)], port, scratch / "echo.log"))
        stand = enter(stand_in(scratch / "service"))
        session = make_session(scratch / "session", stand)
        enter(agent(session))
        leaf = stand.upstream.issue([f"{NAME}.{DOMAIN}"], 1)
        for name, content in (("certificate.pem", leaf.certificate), ("key.pem", leaf.key)):
            (scratch / name).touch(0o600)
            (scratch / name).write_bytes(content)
        command = [
            str(JUPYTER), "lab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
            f"--port={other}",
            f"--IdentityProvider.token={TOKEN}", f"--certfile={scratch}/certificate.pem",
            f"--keyfile={scratch}/key.pem", "--ServerApp.allow_remote_access=True",
            f"--notebook-dir={scratch}",
        ]  # fmt: skip
        enter(server(command, other, scratch / "jupyter.log", patience=120))
        ready = event(session, "ready")["port"]
        yield [
            _Way("session", f"https://127.0.0.1:{ready}/proxy/{port}"),
            _Way("plain", f"https://127.0.0.1:{other}/proxy/{port}"),
        ]


async def _blocks(ways: list[_Way]) -> None:
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE  # by address, for both
    connector = aiohttp.TCPConnector(ssl=trust, limit=CONNECTIONS)
    headers = {"Authorization": f"token {TOKEN}", "Host": f"{NAME}.{DOMAIN}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as client:
        for block in range(PAIRS + 1):
            for way in ways if block % 2 else ways[::-1]:
                rate, trip = await _rate(client, way), await _trip(client, way)
                if block:  # the first one warms up
                    way.rates.append(rate)
                    way.trips.append(trip)


async def _rate(client: aiohttp.ClientSession, way: _Way) -> float:
    async def some() -> None:
        for _ in range(REQUESTS // CONNECTIONS):
            async with client.get(f"{way.base}/page") as answer:
                assert answer.status == 200, await answer.text()
                assert len(await answer.read()) == 10_000

    began = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(CONNECTIONS)))
    return REQUESTS / (time.perf_counter() - began)


async def _trip(client: aiohttp.ClientSession, way: _Way) -> float:
    times = []
    async with client.ws_connect(f"{way.base}/echo") as channel:
        for _ in range(ROUND_TRIPS):
            began = time.perf_counter()
            await channel.send_str(MESSAGE)
            assert await channel.receive_str() == MESSAGE
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6
