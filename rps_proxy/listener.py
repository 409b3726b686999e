"""Where connections come in: a bound socket, aiohttp's server on it, and what it says by itself."""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

from rps_core.errors import ServiceError
from rps_proxy.engine import LONGEST_LINE, MOST_FIELDS
from rps_proxy.pages import OURS

BACKLOG = 1024
IDLE_CONNECTION = 75.0  # seconds without a request, or with half a head

_Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class _Request(web.BaseRequest):
    """aiohttp's, but the connection ends with one whose body came in chunks: what stands behind the last
    chunk (a trailer), aiohttp's parser would put into the head of the next request. Behind HAProxy, which
    passes trailers on and sends the requests of many clients over one connection, that is anybody's."""

    @property
    def keep_alive(self) -> bool:
        return super().keep_alive and not self._message.chunked


class _Connection(web.RequestHandler):
    """aiohttp's side of a connection, but its own error pages say nothing of the request."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002 - aiohttp's signature
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("broken off within an answer")
        response = plain_answer(status)
        response.force_close()
        return response


class HttpServer(web.Server):
    """aiohttp's server, with our limits, and an end after which nothing is taken up."""

    _ended = False

    def __init__(self, handler: _Handler) -> None:
        # A client that goes away ends what was done for it.
        super().__init__(handler, request_factory=_request, handler_cancellation=True)

    async def end(self, seconds: float) -> None:
        """Let calls that are under way have so long for their answer, and close all connections."""
        self._ended = True
        await self.shutdown(seconds)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """aiohttp's; but one that was in its TLS handshake when the others were closed comes too late."""
        super().connection_made(handler, transport)
        if self._ended:
            handler.force_close()

    def __call__(self) -> web.RequestHandler:
        """What takes the next connection."""
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # None turns it off
            logger=_silent_logger(),
            auto_decompress=False,
            keepalive_timeout=IDLE_CONNECTION,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            max_headers=MOST_FIELDS,
        )


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return _Request(message, payload, protocol, writer, task, loop)


def listen(address: str, port: int, *, shared: bool = False) -> socket.socket:
    """A bound socket; a `shared` one on a port that others of ours have.

    Raises:
        ServiceError: the address or port cannot be had; its cause is the OSError.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Lets a restarted service have its port back while old connections are still closing.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address != "::")
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        hint = {
            errno.EADDRINUSE: "Another program has that port: stop it, or choose another "
            "(`listen.port`; `ss -tlnp` shows who listens where).",
            errno.EADDRNOTAVAIL: "`ip address` shows the addresses of this machine (`listen.address`).",
            errno.EACCES: "Ports below 1024 are for root, or for a program with "
            "CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=).",
        }.get(error.errno or 0, "Check `listen.address` and `listen.port`.")
        raise ServiceError(
            f"The service cannot listen on {address}, port {port}: {error.strerror}", hint
        ) from error
    return listener


def listen_together(address: str, port: int, number: int) -> list[socket.socket]:
    """As `listen`: so many sockets on one port, among which the kernel spreads connections."""
    first = listen(address, port)  # not shared yet: a port that somebody has is refused
    sockets = [first]
    try:
        port = first.getsockname()[1]
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        while len(sockets) < number:
            sockets.append(listen(address, port, shared=True))
    except BaseException:
        for each in sockets:
            each.close()
        raise
    return sockets


def raise_file_limit() -> None:
    """As many open files as we may have: a websocket takes two descriptors; the usual 1,024 are soon gone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _silent_logger() -> logging.Logger:
    """aiohttp would log each malformed request of each scanner; defects are logged by us."""
    logger = logging.getLogger("rps.http")
    logger.disabled = True
    return logger


def plain_answer(status: int) -> web.Response:
    """A line of text that says nothing of the request."""
    texts = {400: "Bad request", 403: "Refused", 421: "Not served here", 503: "Try again"}
    response = web.Response(status=status, text=f"{texts.get(status, 'Internal error')}\n")
    response.headers.update(OURS)
    response.force_close()
    return response
