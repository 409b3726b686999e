"""Connections from an engine or a worker: one request each, with its client.

Each request has its own connection: bytes that it leaves behind (half a body, a trailer) reach no other
request, and the client's address belongs to the connection. HAProxy and the workers send it by the PROXY
protocol, before the request. Apache cannot: there it is a field of the one request's head (`CALLER`),
from which Apache has removed what the client sent by that name.
"""

from __future__ import annotations

from typing import Any

from aiohttp.helpers import reify

from rps_proxy.engine import CALLER
from rps_proxy.http.proxy_protocol import BadHeaderError, read
from rps_proxy.http.server import Connection, Request
from rps_proxy.networks import plain


class _OnlyRequest(Request):
    """A request after which the connection ends."""

    @property
    def keep_alive(self) -> bool:
        """Return False: the next request comes on another connection."""
        return False


class ProxyProtocolConnection(Connection):
    """A connection that begins with a PROXY protocol header; else it is closed."""

    request_type = _OnlyRequest

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._header = b""
        self._source: str | None = None

    @property
    def peername(self) -> tuple[str, int] | None:
        """Return the client's address, where aiohttp looks for the socket's peer."""
        return None if self._source is None else (self._source, 0)

    def data_received(self, data: bytes) -> None:
        """Remove the header, then pass the bytes to aiohttp."""
        if self._source is None:
            self._header += data
            try:
                found = read(self._header)
            except BadHeaderError:
                self.force_close()
                return
            if found is None:
                return
            self._source, length = found
            data, self._header = self._header[length:], b""
        super().data_received(data)


class _CallerRequest(_OnlyRequest):
    @reify
    def remote(self) -> str | None:
        """Return the one field that Apache sets; None: there is none, or more than one."""
        callers = self.headers.getall(CALLER, ())
        try:
            return plain(callers[0]) if len(callers) == 1 else None
        except ValueError:
            return None


class CallerFieldConnection(Connection):
    """A connection whose one request names the client in its head."""

    request_type = _CallerRequest
