"""Connections to one notebook, over verified TLS, kept for reuse, never shared.

Each session has its own pool, so a connection serves no other session than the one whose name its
certificate was verified for. In a pool each client's connection has its own connection to the notebook, so
bytes that a client or the notebook leaves on it reach no other client.
"""

from __future__ import annotations

import asyncio
import ssl

from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_proto import ResponseHandler

# Less than notebook servers wait (Tornado: an hour), so a reused connection is rarely closed.
IDLE_SECONDS = 30.0
MOST_IDLE = 256  # of one notebook; beyond, the least recently used is closed


class UnreachableError(Exception):
    """No connection to this session's notebook; the text gives the reason."""


class _Connection(ResponseHandler):
    """An aiohttp connection that drops bytes after an answer without a body.

    Some servers send a last chunk after a 204, which RFC 9112, 6.1 forbids. aiohttp's parser takes it for the
    beginning of a second answer, and then returns neither.
    """

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; see `asyncio.Protocol`."""
        if data[9:12] in (b"204", b"304") and data.startswith(b"HTTP/") and self._awaits_head():
            head, end, rest = data.partition(b"\r\n\r\n")
            if rest:
                self.force_close()
                data = head + end
        super().data_received(data)

    def _awaits_head(self) -> bool:
        return not self.upgraded and (self._payload is None or self._payload.is_eof())


def break_off(connection: ResponseHandler) -> None:
    """Close a connection at once.

    TLS would wait for the peer's close_notify, behind all that it still sends.
    """
    if connection.transport is not None:
        connection.transport.abort()


class Pool:
    """The connections to `address:port`, whose certificate must be for `host`.

    Without a `context` they are plain HTTP and unverified: a satellite session.
    """

    def __init__(
        self, host: str, address: str, port: int, context: ssl.SSLContext | None, timeout: float
    ) -> None:
        self._host = host
        self._address = address
        self._port = port
        self._context = context
        self.plain = context is None
        self._timeout = timeout
        self._idle: dict[BaseProtocol, tuple[float, ResponseHandler]] = {}  # in order of their use
        self._closed = False

    def reuse(self, client: BaseProtocol) -> ResponseHandler | None:
        """Return the connection last used for this client connection, if still open."""
        _, connection = self._idle.pop(client, (0.0, None))
        if connection is None:
            return None
        if connection.is_connected() and not connection.should_close:
            return connection
        connection.close()
        return None

    async def connect(self) -> ResponseHandler:
        """Open a new connection.

        Raises:
            UnreachableError: no server answers there, or its certificate is not the session's.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop),
                    self._address,
                    self._port,
                    ssl=self._context,
                    server_hostname=self._host if self._context else None,
                )
        except TimeoutError:
            raise UnreachableError(f"no answer within {self._timeout:g} s") from None
        except ssl.SSLCertVerificationError as error:
            raise UnreachableError(
                f"not the session's certificate: {error.verify_message}"
            ) from error
        except OSError as error:  # ssl.SSLError is one
            raise UnreachableError(error.strerror or str(error)) from error
        return connection

    def keep(self, client: BaseProtocol, connection: ResponseHandler) -> None:
        """Keep a connection whose response was read to its end, or close it."""
        if self._closed or connection.should_close or not client.connected:
            connection.close()
            return
        self._idle[client] = asyncio.get_running_loop().time(), connection
        if len(self._idle) > MOST_IDLE:
            self._close_first()

    def sweep(self) -> None:
        """Close connections that are idle too long or whose client has gone."""
        before = asyncio.get_running_loop().time() - IDLE_SECONDS
        for client, (used, connection) in list(self._idle.items()):
            if used < before or not client.connected:
                del self._idle[client]
                connection.close()

    def close(self) -> None:
        """Close every idle connection now, and those in use when they are returned."""
        self._closed = True
        while self._idle:
            self._close_first()

    def _close_first(self) -> None:
        self._idle.pop(next(iter(self._idle)))[1].close()
