"""Forward HTTP requests and websockets between the clients and the notebooks.

Built from aiohttp's server, parsers and protocols. aiohttp's client session is not used: it builds a new
request (URL, headers, cookies) where a proxy forwards the original, and it shares connections where each
session needs its own.
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawResponseMessage, StreamWriter

from rps_proxy.engines.embedded.exchange import Exchange, NotAnsweringError, UnacceptableError
from rps_proxy.engines.embedded.headers import response_head
from rps_proxy.engines.embedded.routes import Route
from rps_proxy.engines.embedded.websocket import Relay


class _Sent(web.StreamResponse):
    """Placeholder that aiohttp's server gets for a response already written."""

    def __init__(self, keep_alive: bool) -> None:
        super().__init__()
        self._keeps = keep_alive

    @property
    def keep_alive(self) -> bool | None:
        return self._keeps

    async def prepare(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - aiohttp's signature
    ) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        pass


class _Transfer:
    """A request under way; its route can end it."""

    __slots__ = ("_transport",)

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def end(self) -> None:
        """Abort the client's connection: half a download must not look complete."""
        self._transport.abort()


class Forwarder:
    """Forward requests.

    `ping_every`, `dead_after` and `stall_time` are seconds, see proxy.yaml; `strict_transport` is as in
    `Settings`.
    """

    def __init__(
        self,
        ping_every: float,
        dead_after: float,
        strict_transport: str | None,
        stall_time: float,
    ) -> None:
        self._stall_time = stall_time
        self._ping_every = ping_every
        self._dead_after = dead_after
        self._strict_transport = (strict_transport or "").encode()
        self._kept = _Sent(keep_alive=True)
        self._last = _Sent(keep_alive=False)

    async def forward(
        self, request: web.BaseRequest, route: Route, remote: str
    ) -> web.StreamResponse:
        """Carry one request, or one websocket for as long as it lasts.

        Raises:
            UnacceptableError: the request must not be passed on.
            NotAnsweringError: there is no answer, and nothing was sent to the client yet.
        """
        if request.transport is None:
            raise ConnectionResetError
        upgrade = route.websockets and "Upgrade" in request.headers and _wants_websocket(request)
        exchange = Exchange(request, route, remote, upgrade, self._stall_time)
        transfer = _Transfer(request.transport)
        route.under_way.add(transfer)
        try:
            message, payload = await exchange.ask()
            if message.code == 101:
                route.under_way.discard(transfer)
                await self._relay(exchange, message, route)
                return self._last
            kept = await exchange.answer(message, payload, self._strict_transport)
            return self._kept if kept else self._last
        finally:
            route.under_way.discard(transfer)
            exchange.close()

    async def _relay(self, exchange: Exchange, message: RawResponseMessage, route: Route) -> None:
        request, connection = exchange.request, exchange.connection
        transport, protocol = request.transport, request.protocol
        if connection is None or not connection.upgraded or not exchange.upgrade:
            raise NotAnsweringError("the answer switches protocols without a request to")
        if transport is None:
            raise ConnectionResetError
        head = response_head(
            101, message.reason, message.raw_headers, connection=b"Upgrade", upgrade=True
        )
        loop = asyncio.get_running_loop()
        relay = Relay(
            protocol,
            StreamWriter(protocol, loop),
            connection,
            StreamWriter(connection, loop),
            route.traffic,
            ping_every=self._ping_every,
            dead_after=self._dead_after,
        )
        route.under_way.add(relay)
        try:
            transport.write(head)
            # aiohttp has these for its websocket reader, and calls two methods, which a pipe has.
            protocol.set_parser(relay.from_client)  # type: ignore[arg-type]
            connection.set_parser(relay.from_notebook, None)
            await relay.run()
        finally:
            route.under_way.discard(relay)


def _wants_websocket(request: web.BaseRequest) -> bool:
    """Return whether the request opens a websocket; ignore other upgrades.

    Raises:
        UnacceptableError: it opens one, but is malformed.
    """
    headers = request.headers
    if [value.lower() for value in headers.getall("Upgrade")] != ["websocket"]:
        return False
    options = {
        option.strip().lower()
        for value in headers.getall("Connection", ())
        for option in value.split(",")
    }
    well_formed = (
        request.method == "GET"
        and request.version == (1, 1)
        and "upgrade" in options
        and len(headers.getall("Sec-WebSocket-Key", ())) == 1
        and headers.getall("Sec-WebSocket-Version", ()) == ["13"]
        and not request.body_exists
    )
    if not well_formed:
        raise UnacceptableError(400)
    return True
