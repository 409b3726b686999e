"""Connections to one notebook: opened over verified TLS, kept for reuse, never shared.

Each session has a pool of its own, so a connection cannot serve another session than the one whose
name its certificate was verified for.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque

from aiohttp.client_proto import ResponseHandler

# Less than any notebook server waits (Tornado: an hour), so a reused connection is rarely a dead one.
IDLE_SECONDS = 30.0
MOST_IDLE = 64


class UnreachableError(Exception):
    """No connection to the notebook, or not to *this* notebook; the text says why."""


def break_off(connection: ResponseHandler) -> None:
    """Close a connection at once.

    An orderly end of TLS would wait for the peer's, behind all that it still sends.
    """
    if connection.transport is not None:
        connection.transport.abort()


class Pool:
    """The connections to `address:port`, which must prove to be `host`.

    Without a `context`, plain HTTP is spoken, and nothing proved: a session of the old dialect.
    """

    def __init__(
        self, host: str, address: str, port: int, context: ssl.SSLContext | None, timeout: float
    ) -> None:
        self._host = host
        self._address = address
        self._port = port
        self._context = context
        self._timeout = timeout
        self._idle: deque[tuple[float, ResponseHandler]] = deque()
        self._closed = False

    def reuse(self) -> ResponseHandler | None:
        """A connection that served before and is still open; the one used last comes first."""
        while self._idle:
            _, connection = self._idle.pop()
            if connection.is_connected() and not connection.should_close:
                return connection
            connection.close()
        return None

    async def connect(self) -> ResponseHandler:
        """A new connection.

        Raises:
            UnreachableError: nobody answers there, or somebody without this session's certificate.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                _, connection = await loop.create_connection(
                    lambda: ResponseHandler(loop),
                    self._address,
                    self._port,
                    ssl=self._context,
                    server_hostname=self._host if self._context else None,
                )
        except TimeoutError:
            raise UnreachableError(f"no answer within {self._timeout:g} s") from None
        except ssl.SSLCertVerificationError as error:
            raise UnreachableError(f"another server is there: {error.verify_message}") from error
        except OSError as error:  # ssl.SSLError is one
            raise UnreachableError(error.strerror or str(error)) from error
        return connection

    def keep(self, connection: ResponseHandler) -> None:
        """Put a connection back whose response was read to its end; else it is closed."""
        if self._closed or connection.should_close or len(self._idle) >= MOST_IDLE:
            connection.close()
        else:
            self._idle.append((asyncio.get_running_loop().time(), connection))

    def sweep(self) -> None:
        """Close what was not used for a while."""
        before = asyncio.get_running_loop().time() - IDLE_SECONDS
        while self._idle and self._idle[0][0] < before:
            self._idle.popleft()[1].close()

    def close(self) -> None:
        """Close every idle connection, and those in use as they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop()[1].close()
