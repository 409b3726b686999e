"""The embedded engine: HTTP and websockets between the clients and the notebooks.

Built from aiohttp's server, its parsers and its protocols. Its client session is left out: it would
build every request anew (URL, headers, cookies), where a proxy passes on what came, and it shares
connections, where each session is to have its own.
"""

from __future__ import annotations

import asyncio

from aiohttp import ClientError, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage, StreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

from rps_core.log import get_logger
from rps_proxy.headers import BadHeadError, request_head, response_head
from rps_proxy.routes import Route
from rps_proxy.upstream import UnreachableError, break_off
from rps_proxy.websocket import Relay

LONGEST_LINE = 32 * 1024  # of a head; cookies of several notebooks and long URLs fit
MOST_FIELDS = 256

# A request may be sent again only where that cannot do anything twice.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

_log = get_logger("rps.engine")


class UnacceptableError(Exception):
    """A request that goes no further, answered with `status`; nothing was sent upstream."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class NotAnsweringError(Exception):
    """The notebook could not be reached, or broke off before it answered."""


class _Sent(web.StreamResponse):
    """What the server is told of a response that was written already."""

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
    """A request on its way, as its route knows it."""

    __slots__ = ("_transport",)

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def end(self) -> None:
        """Break the client's connection off, so that half a download does not look like all of it."""
        self._transport.abort()


class Forwarder:
    """Passes requests on. `ping_every` and `dead_after` are seconds, see proxy.yaml; `strict_transport` is as
    in `Settings`."""

    def __init__(self, ping_every: float, dead_after: float, strict_transport: str | None) -> None:
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
            UnacceptableError: the request is not one to pass on.
            NotAnsweringError: there is no answer, and nothing was sent to the client yet.
        """
        if request.transport is None:
            raise ConnectionResetError
        upgrade = (
            route.websockets and "Upgrade" in request.headers and _wants_websocket(request, route)
        )
        exchange = _Exchange(request, route, remote, upgrade)
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

    async def _relay(self, exchange: _Exchange, message: RawResponseMessage, route: Route) -> None:
        request, connection = exchange.request, exchange.connection
        transport, protocol = request.transport, request.protocol
        if connection is None or not connection.upgraded or not exchange.upgrade:
            raise NotAnsweringError("an upgrade that nobody asked for")
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
            # aiohttp has these for its websocket reader; a pipe has the two methods they call.
            protocol.set_parser(relay.from_client)  # type: ignore[arg-type]
            connection.set_parser(relay.from_notebook, None)
            await relay.run()
        finally:
            route.under_way.discard(relay)


class _Exchange:
    """One request to a notebook and its answer, over one connection."""

    def __init__(self, request: web.BaseRequest, route: Route, remote: str, upgrade: bool) -> None:
        self.request = request
        self.upgrade = upgrade
        self.connection: ResponseHandler | None = None
        self._route = route
        self._upload: asyncio.Task[None] | None = None
        self._has_body = request.body_exists
        self._chunked = self._has_body and "Transfer-Encoding" in request.headers
        try:
            self._head = request_head(
                request.method,
                request.raw_path,
                request.raw_headers,
                provenance=route.provenance(remote),
                chunked=self._chunked,
                upgrade=upgrade,
            )
        except BadHeadError:
            raise UnacceptableError(400) from None

    async def ask(self) -> tuple[RawResponseMessage, StreamReader]:
        """Send the request; the head of the answer, and its body as it comes."""
        pool = self._route.pool
        # A websocket never comes back to the pool, and must not fail because of an old connection.
        self.connection = None if self.upgrade else pool.reuse()
        if self.connection is not None:
            try:
                return await self._send(self.connection)
            except NotAnsweringError:
                if self._has_body or self.request.method not in _SAFE:
                    raise
                self.connection.close()  # it was old, and closed as we used it
        try:
            self.connection = await pool.connect()
        except UnreachableError as error:
            raise NotAnsweringError(str(error)) from error
        return await self._send(self.connection)

    async def answer(
        self, message: RawResponseMessage, payload: StreamReader, strict_transport: bytes
    ) -> bool:
        """Write the answer to the client; whether the client's connection can be used again.

        Raises:
            NotAnsweringError: the head cannot be passed on.
        """
        request = self.request
        bodiless = request.method == "HEAD" or message.code in (204, 304)
        old = request.version < (1, 1)
        measured = bodiless or "Content-Length" in message.headers
        if message.chunked and "Content-Length" in message.headers:
            raise NotAnsweringError("two lengths in one answer")
        uploaded = self._upload is None or self._upload.done()
        keep_alive = request.keep_alive and uploaded and (measured or not old)
        chunked = not measured and not old
        connection = b"" if keep_alive and not old else b"keep-alive" if keep_alive else b"close"
        try:
            head = response_head(
                message.code,
                message.reason,
                message.raw_headers,
                chunked=chunked,
                connection=connection,
                strict_transport=strict_transport,
            )
        except BadHeadError:
            raise NotAnsweringError("a malformed answer") from None
        writer = request.writer
        try:
            if payload.is_eof():  # all of it is here: one write
                body = payload.read_nowait()
                self._route.traffic.sent += len(body)
                await writer.write(head + (_chunk(body, last=True) if chunked else body))
            else:
                await writer.write(head)
                while body := await payload.readany():
                    self._route.traffic.sent += len(body)
                    await writer.write(_chunk(body) if chunked else body)
                if chunked:
                    await writer.write(b"0\r\n\r\n")
        except ClientError:
            # It broke off within the body, and the client must not take that for the end.
            if request.transport is not None:
                request.transport.abort()
            return False
        if uploaded and self.connection is not None:
            self._route.pool.keep(self.connection)
            self.connection = None
        return keep_alive

    def close(self) -> None:
        """Leave nothing behind, however it ended."""
        if self._upload is not None:
            self._upload.cancel()
        if self.connection is not None:
            break_off(self.connection)

    async def _send(self, connection: ResponseHandler) -> tuple[RawResponseMessage, StreamReader]:
        transport = connection.transport
        if transport is None:
            raise NotAnsweringError("the connection was closed")
        connection.set_response_params(
            skip_payload=self.request.method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            max_headers=MOST_FIELDS,
        )
        transport.write(self._head)
        if self._has_body:
            self._upload = asyncio.create_task(self._send_body(connection))
        try:
            message, payload = await connection.read()
            while 100 <= message.code < 200 and message.code != 101:
                message, payload = await connection.read()
        except (ClientError, HttpProcessingError, OSError) as error:
            raise NotAnsweringError(f"it broke off: {type(error).__name__}") from error
        return message, payload

    async def _send_body(self, connection: ResponseHandler) -> None:
        request = self.request
        writer = StreamWriter(connection, asyncio.get_running_loop())
        if self._chunked:
            writer.enable_chunking()
        try:
            if request.headers.get("Expect", "").lower() == "100-continue":
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            while body := await request.content.readany():
                self._route.traffic.received += len(body)
                await writer.write(body)
            await writer.write_eof()
        except (ConnectionError, ClientError, web.RequestPayloadError):
            # Whoever went away, the notebook must not take half a body for the whole: break off.
            # An answer that it gave before is still read.
            break_off(connection)


def _wants_websocket(request: web.BaseRequest, route: Route) -> bool:
    """Whether this is the opening of a websocket; other upgrades are ignored, as HTTP allows.

    Raises:
        UnacceptableError: it is one, but malformed, or asked for by a page of another origin.
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
    origins = [origin.lower() for origin in headers.getall("Origin", ())]
    if origins not in ([], [f"https://{route.public_host}"]):
        _log.debug("foreign-origin", session=route.name)
        raise UnacceptableError(403)
    return True


def _chunk(data: bytes, *, last: bool = False) -> bytes:
    end = b"0\r\n\r\n" if last else b""
    return b"%x\r\n%s\r\n%s" % (len(data), data, end) if data else end
