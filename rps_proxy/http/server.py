"""aiohttp's server with the service's limits on heads and connections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion10, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import StreamReader

from rps_proxy.http.answers import plain_answer
from rps_proxy.http.heads import LONGEST_READ, MOST_FIELDS

LINGERING = 10.0  # seconds for the rest of a body after an early answer
IDLE_CONNECTION = 75.0  # seconds from an answer to the end of the next head

# Answers a request whose head could not be read, so that the media types its client accepts are unknown.
HeadTooLarge: TypeAlias = Callable[[], web.Response]
_Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Request(web.BaseRequest):
    """A request after which the connection ends unless its end is certain.

    A request of another version than HTTP/1.0 and 1.1 (the parser accepts 2.0 and 0.9) is refused, with an
    answer of version 1.1 (`of_known_version`).

    The connection ends when the answer precedes the whole body, since what follows could be its rest or a
    request. It also ends after a chunked body: aiohttp's parser adds a trailer to the next request's head.
    """

    def __init__(self, message: RawRequestMessage, *arguments: Any) -> None:
        self.of_known_version = message.version in (HttpVersion10, HttpVersion11)
        if not self.of_known_version:
            message = message._replace(version=HttpVersion11)
        super().__init__(message, *arguments)

    @property
    def keep_alive(self) -> bool:
        """Return whether another request may follow."""
        return super().keep_alive and not self._message.chunked and self._payload.is_eof()


class Connection(web.RequestHandler):
    """An aiohttp connection whose error pages repeat nothing of the request."""

    request_type: type[Request] = Request
    head_time = IDLE_CONNECTION  # seconds for the first head
    head_too_large: HeadTooLarge = staticmethod(partial(plain_answer, 431))
    at_end: Callable[[], None] | None = None
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timer for the first head."""
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        self._head_timer = loop.call_later(self.head_time, self._end_without_a_head)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Report the end to `at_end`."""
        super().connection_lost(exc)
        if self._head_timer is not None:
            self._head_timer.cancel()
        self.end_of_connection()

    def end_of_connection(self) -> None:
        """Call `at_end`, once."""
        at_end, self.at_end = self.at_end, None
        if at_end is not None:
            at_end()

    def _end_without_a_head(self) -> None:
        if not self._request_count:
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's signature
    ) -> web.StreamResponse:
        """Answer a request that was malformed or failed."""
        if request.writer.output_size > 0:
            raise ConnectionError("broken off within an answer")
        too_long = isinstance(exc, LineTooLong)
        response = self.head_too_large() if too_long else plain_answer(status)
        response.force_close()
        return response


class OwnSocketConnection(Connection):
    """A connection to a Unix socket that only the service's own account can open."""

    peername = ("127.0.0.1", 0)  # where aiohttp looks for the socket's peer, which has no address


class HttpServer(web.Server):
    """aiohttp's server with the limits; it takes no connection after its `end`."""

    _ended = False

    def __init__(
        self,
        handler: _Handler,
        connection: type[Connection] = Connection,
        head_time: float = IDLE_CONNECTION,
        head_too_large: HeadTooLarge | None = None,
    ) -> None:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            if not cast(Request, request).of_known_version:
                return plain_answer(400)
            return await handler(request)

        # The handler of a client that disconnects is cancelled.
        super().__init__(
            handle, request_factory=_factory(connection.request_type), handler_cancellation=True
        )
        self._connection = connection
        self._head_time = head_time
        self._head_too_large = head_too_large

    async def end(self, seconds: float) -> None:
        """Wait `seconds` for calls under way, then close all connections."""
        self._ended = True
        await self.shutdown(seconds)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Close a connection whose TLS handshake ended after `end`; see aiohttp."""
        super().connection_made(handler, transport)
        if self._ended:
            handler.force_close()

    def __call__(self) -> Connection:
        """Build the protocol of the next connection."""
        connection = self._connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # None turns it off
            logger=_silent_logger(),
            auto_decompress=False,
            keepalive_timeout=IDLE_CONNECTION,
            lingering_time=min(LINGERING, self._head_time),
            max_line_size=LONGEST_READ,
            max_field_size=LONGEST_READ,
            max_headers=MOST_FIELDS,
        )
        connection.head_time = self._head_time
        if self._head_too_large is not None:
            connection.head_too_large = self._head_too_large
        return connection


def _factory(kind: type[Request]) -> Callable[..., Request]:
    def request(
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> Request:
        return kind(message, payload, protocol, writer, task, asyncio.get_running_loop())

    return request


def _silent_logger() -> logging.Logger:
    """Return a logger that drops aiohttp's line for each malformed request.

    Defects are logged in `RequestHandler`.
    """
    logger = logging.getLogger("rps.http")
    logger.disabled = True
    return logger
