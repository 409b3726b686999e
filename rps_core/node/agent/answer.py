"""Read an HTTP/1.1 answer (RFC 9112), bounded in time and in bytes; refuse what is none.

In place of `http.client`, whose import (it loads `email`) costs more than a call: docs/architecture.md.
"""

import socket
import time
from typing import Any, Dict, NamedTuple, Tuple

LONGEST_HEAD = 32 * 1024  # bytes of an answer's head, interim answers (100) included
CALL_STEPS = 3  # as many times the limit of one step is the limit of a whole call
PIECE = 16 * 1024  # bytes, of a TLS record
_LONGEST_LINE = 1024  # bytes of the size of a chunk with its extensions, and of a trailer
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HEX = b"0123456789abcdefABCDEF"


class TooLong(OSError):
    """An answer has more bytes than any that the service gives."""


class NotHttp(Exception):
    """What came is no HTTP answer: why, in words that quote nothing of it."""


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


class Incoming:
    """The bytes that come from a socket, each wait within the limit."""

    def __init__(self, sock: Any, limit: TimeLimit) -> None:
        self._sock = sock
        self._limit = limit
        self._ended = False
        self._buffer = bytearray()

    def line(self, longest: int) -> bytes:
        """Take a line, and return it without its CRLF (TooLong, NotHttp)."""
        while True:
            end = self._buffer.find(b"\n", 0, max(longest, 0))
            if end >= 0:
                break
            if len(self._buffer) >= longest:
                raise TooLong("the answer is too long")
            if not self._more():
                raise NotHttp("it ended within a line")
        line = self._take(end + 1)
        if not line.endswith(b"\r\n"):
            raise NotHttp("a line has no CRLF")
        return line[:-2]

    def exactly(self, count: int) -> bytes:
        """Take so many bytes (NotHttp: there are fewer)."""
        while len(self._buffer) < count:
            if not self._more():
                raise NotHttp("it ended too early")
        return self._take(count)

    def until_closed(self, longest: int) -> bytes:
        """Take all that comes (TooLong: more than `longest` bytes)."""
        while self._more():
            if len(self._buffer) > longest:
                break
        if len(self._buffer) > longest:
            raise TooLong("the answer is too long")
        return self._take(len(self._buffer))

    def is_empty(self) -> bool:
        """Return whether nothing came: the connection was closed instead."""
        return not self._buffer and not self._more()

    def has_more(self) -> bool:
        """Return whether bytes have come that nothing has taken."""
        return bool(self._buffer)

    def _more(self) -> bool:
        self._sock.settimeout(self._limit.left())
        piece = self._sock.recv(PIECE)
        self._buffer += piece
        return bool(piece)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


class Answer(NamedTuple):
    """An answer, its headers by their names in lower case. `kept`: its connection can be used again."""

    status: int
    headers: Dict[str, str]
    body: bytes
    kept: bool


def read_answer(incoming: Incoming, longest: int) -> Answer:
    """Read the answer to a request other than HEAD, with a body of at most `longest` bytes.

    Raises:
        ConnectionResetError: the connection was closed in place of an answer.
        OSError: none came in time, or one that is too long (TooLong).
        NotHttp: it is no HTTP answer.
    """
    if incoming.is_empty():
        raise ConnectionResetError("it closed the connection without an answer")
    left, status = LONGEST_HEAD, 100
    while status < 200:  # interim answers: RFC 9110, 15.2
        line = incoming.line(left)
        left -= len(line) + 2
        version, status = _status(line)
        headers: Dict[str, str] = {}
        while True:
            line = incoming.line(left)
            left -= len(line) + 2
            if not line:
                break
            _add_field(headers, line)
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    delimited = True
    if status in (204, 304):
        body = b""
    elif coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise NotHttp("its end is not clear")
        body = _chunks(incoming, longest)
    elif length is not None:
        body = incoming.exactly(_size(length.encode("latin-1"), 10, longest))
    else:
        delimited = False
        body = incoming.until_closed(longest)
    kept = delimited and version == b"HTTP/1.1" and not incoming.has_more()
    kept = kept and "close" not in headers.get("connection", "").lower()
    return Answer(status, headers, body, kept)


def _status(line: bytes) -> Tuple[bytes, int]:
    """Return the version and the status of an answer's first line."""
    version, _, rest = line.partition(b" ")
    code = rest.partition(b" ")[0]
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise NotHttp("it begins with no version of HTTP/1")
    if len(code) != 3 or not code.isdigit() or code < b"100" or code == b"101":
        raise NotHttp("it has no status of an answer")
    return version, int(code)


def _add_field(headers: Dict[str, str], line: bytes) -> None:
    name, colon, value = line.partition(b":")
    if not colon or not name or name.translate(None, _TOKEN):
        raise NotHttp("a line of its head is no header")
    key, text = name.decode("latin-1").lower(), value.strip(b" \t").decode("latin-1")
    if key in headers and key in ("content-length", "transfer-encoding"):
        raise NotHttp("its end is not clear")
    headers[key] = "%s, %s" % (headers[key], text) if key in headers else text


def _chunks(incoming: Incoming, longest: int) -> bytes:
    body = b""
    left = LONGEST_HEAD  # bytes of all that is not the body: many small chunks are an attack
    while True:
        line = incoming.line(min(left, _LONGEST_LINE))
        left -= len(line) + 4
        size = _size(line.partition(b";")[0].rstrip(b" \t"), 16, longest - len(body))
        if size == 0:
            break
        body += incoming.exactly(size)
        if incoming.exactly(2) != b"\r\n":
            raise NotHttp("a chunk has another length than it says")
    while line:  # trailers
        line = incoming.line(min(left, _LONGEST_LINE))
        left -= len(line) + 2
    return body


def _size(digits: bytes, base: int, most: int) -> int:
    """Read a number of bytes (TooLong: more than `most`)."""
    if not digits or digits.translate(None, _HEX[: 10 if base == 10 else None]):
        raise NotHttp("its length is no number")
    if len(digits) > 16 or int(digits, base) > most:
        raise TooLong("the answer is too long")
    return int(digits, base)
