"""One HTTPS connection to a service: its calls are bounded in time and in bytes."""

import socket
from typing import Any, Dict, Optional

from rps_core.node.agent.answer import PIECE, Answer, Incoming, TimeLimit, read_answer

_HTTPS = 443


class Connection:
    """A connection to a service. `kept`: it can be used for another call."""

    def __init__(self, host: str, port: int, context: Any) -> None:
        self.kept = False
        self._host = host
        self._port = port
        self._tls = context
        self._limit = TimeLimit(0)
        self._sock: Any = None

    def open(self, address: str, seconds: float) -> str:
        """Connect to `address`, not the host's own; return our end (OSError, ValueError)."""
        self._limit = TimeLimit(seconds)
        # As bytes: Python takes a text for an international name, and loads what those need.
        raw = self._connected(address.encode())
        # Else a request of two packets waits 40 ms for the delayed acknowledgement of the first.
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.settimeout(self._limit.left())
        try:
            self._sock = self._tls.wrap_socket(raw, server_hostname=self._host.encode())
        except BaseException:
            raw.close()
            raise
        return str(self._sock.getsockname()[0])

    def _connected(self, address: bytes) -> socket.socket:
        error = OSError("it has no address")
        for family, kind, protocol, _, to in socket.getaddrinfo(
            address, self._port, 0, socket.SOCK_STREAM
        ):
            raw = socket.socket(family, kind, protocol)
            try:
                raw.settimeout(self._limit.left())
                raw.connect(to)
            except OSError as failure:
                raw.close()
                error = failure
            else:
                return raw
        raise error

    def close(self) -> None:
        """Close it; it may be closed."""
        if self._sock is not None:
            self._sock.close()

    def call(
        self,
        method: str,
        path: str,
        content: Optional[bytes],
        headers: Dict[str, str],
        seconds: float,
        longest: int,
    ) -> Answer:
        """Return the answer, whose body has at most `longest` bytes.

        Raises:
            OSError: no answer in time, or one that is too long.
            NotHttp: it is no HTTP.
        """
        self.kept = False
        self._limit = TimeLimit(seconds)
        try:
            self._send(self._head(method, path, content, headers) + (content or b""))
            answer = read_answer(Incoming(self._sock, self._limit), longest)
            self.kept = answer.kept
        finally:
            if not self.kept:
                self.close()
        return answer

    def _head(
        self, method: str, path: str, content: Optional[bytes], headers: Dict[str, str]
    ) -> bytes:
        port = "" if self._port == _HTTPS else ":%d" % self._port
        lines = ["%s %s HTTP/1.1" % (method, path), "Host: %s%s" % (self._host, port)]
        lines += ["%s: %s" % header for header in headers.items()]
        if content is not None or method == "POST":
            lines.append("Content-Length: %d" % len(content or b""))
        if not all(line.isprintable() for line in lines):  # not which: it may hold a secret
            raise ValueError("a request's head contains control characters")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _send(self, data: bytes) -> None:
        """Send within the call's time."""
        view = memoryview(data)
        while view:
            self._sock.settimeout(self._limit.left())
            view = view[self._sock.send(view[:PIECE]) :]
