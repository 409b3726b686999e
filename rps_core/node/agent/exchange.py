"""One HTTPS connection to a service: its calls are bounded in time and in bytes."""

import http.client
import io
import socket
import time
from typing import Any, Dict, Optional, Tuple

LONGEST_HEAD = 32 * 1024  # bytes of an answer's head, interim answers (100) included
CALL_STEPS = 3  # as many times the limit of one step is the limit of a whole call
_PIECE = 16 * 1024  # bytes, of a TLS record


class TooLong(OSError):
    """An answer has more bytes than any that the service gives."""


class TimeLimit:
    """The time of a call: `step` seconds a wait, in all `CALL_STEPS` times that."""

    def __init__(self, step: float) -> None:
        self._step = step
        self._until = time.monotonic() + CALL_STEPS * step

    def left(self) -> float:
        """Return the seconds for the next wait (socket.timeout: none)."""
        left = min(self._step, self._until - time.monotonic())
        if left <= 0:
            raise socket.timeout("timed out")
        return left


class Incoming(io.RawIOBase):
    """The bytes of one answer, at most `most`; a socket to `http.client.HTTPResponse`."""

    def __init__(self, sock: Any, limit: TimeLimit, most: int) -> None:
        self._sock = sock
        self._file = sock.makefile("rb", 0)  # keeps the socket open until the answer was read
        self._limit = limit
        self._left = most

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return itself, as a file."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what has come (TooLong, socket.timeout)."""
        self._sock.settimeout(self._limit.left())
        number: int = self._file.readinto(buffer)
        self._left -= number
        if self._left < 0:
            raise TooLong("the answer is too long")
        return number

    def close(self) -> None:
        """Release the socket."""
        self._file.close()
        super().close()


class Connection(http.client.HTTPSConnection):
    """A connection to a service. `kept`: it can be used for another call."""

    def __init__(self, host: str, port: int, context: Any) -> None:
        super().__init__(host, port, context=context)
        self.kept = False
        self._tls = context
        self._limit = TimeLimit(0)

    def open(self, address: str, seconds: float) -> str:
        """Connect to `address`, not the host's own; return our end (OSError, ValueError)."""
        self._limit = TimeLimit(seconds)
        # As bytes: Python takes a text for an international name, and loads what those need.
        raw = self._connected(address.encode())
        # Else a request of two packets waits 40 ms for the delayed acknowledgement of the first.
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.settimeout(self._limit.left())
        try:
            self.sock = self._tls.wrap_socket(raw, server_hostname=self.host.encode())
        except BaseException:
            raw.close()
            raise
        return str(self.sock.getsockname()[0])

    def _connected(self, address: bytes) -> socket.socket:
        error = OSError("it has no address")
        for family, kind, protocol, _, to in socket.getaddrinfo(
            address, self.port, 0, socket.SOCK_STREAM
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

    def send(self, data: Any) -> None:
        """Send within the call's time."""
        view = memoryview(data)
        while view:
            self.sock.settimeout(self._limit.left())
            view = view[self.sock.send(view[:_PIECE]) :]

    def call(
        self,
        method: str,
        path: str,
        content: Optional[bytes],
        headers: Dict[str, str],
        seconds: float,
        longest: int,
    ) -> Tuple[int, str, bytes]:
        """Return the answer's status, content type and body of at most `longest` bytes.

        Raises:
            OSError: no answer in time, or one that is too long.
            http.client.HTTPException: it is no HTTP.
        """
        self.kept = False
        self._limit = limit = TimeLimit(seconds)

        def answer(sock: Any, method: Optional[str] = None) -> http.client.HTTPResponse:
            return http.client.HTTPResponse(
                Incoming(sock, limit, LONGEST_HEAD + longest),  # type: ignore[arg-type]
                method=method,
            )

        self.response_class = answer  # type: ignore[assignment]
        try:
            self.request(method, path, body=content, headers=headers)
            response = self.getresponse()
            with response:
                text = response.read()
                self.kept = not response.will_close
        finally:
            if not self.kept:
                self.close()
        if len(text) > longest:
            raise TooLong("the answer is too long")
        return response.status, response.getheader("Content-Type", ""), text
