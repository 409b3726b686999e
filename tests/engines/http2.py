"""A client of HTTP/2 that sends the very frames a test asks for (RFC 9113)."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from tests.engines.stand import Stand
from tests.stands.service import read_exactly

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, CONTINUATION = 0, 1, 3, 4, 7, 9
END_STREAM, END_HEADERS = 1, 4
FRAME = 16384  # bytes of content, the least that every server takes
STATUS_200 = b"\x88"  # of HPACK's static table
_STATUSES = {
    8: "200",
    9: "204",
    10: "206",
    11: "304",
    12: "400",
    13: "404",
    14: "500",
}  # that table

Fields: TypeAlias = dict[str, str] | list[tuple[str, str]]  # a name may come more than once


@dataclass(frozen=True)
class Frame:
    """One frame as it came."""

    kind: int
    flags: int
    stream: int
    content: bytes


class Client:
    """One connection of HTTP/2."""

    def __init__(self, stand: Stand, host: str, source: str = "127.0.0.1") -> None:
        context = ssl.create_default_context(cafile=str(stand.directory / "ca" / "ca.pem"))
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", stand.port), 20, source_address=(source, 0))
        self.connection = context.wrap_socket(plain, server_hostname=host.partition(":")[0])
        assert self.connection.selected_alpn_protocol() == "h2"
        self.connection.sendall(PREFACE)
        self.send(SETTINGS, 0, b"", stream=0)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def send(self, kind: int, flags: int, content: bytes, stream: int = 1) -> None:
        """Send one frame."""
        self.connection.sendall(_frame(kind, flags, content, stream))

    def send_request(self, fields: Fields, body: bytes | None = None, stream: int = 1) -> None:
        """Send a header and, in the same write, the whole body.

        None leaves the stream open.
        """
        head = block(fields)
        parts = [head[at : at + FRAME] for at in range(0, len(head), FRAME)]
        sent = b""
        for number, part in enumerate(parts, 1):
            ends = END_STREAM if number == 1 and body == b"" else 0
            ends |= END_HEADERS if number == len(parts) else 0
            sent += _frame(HEADERS if number == 1 else CONTINUATION, ends, part, stream)
        for at in range(0, len(body or b""), FRAME):
            ends = END_STREAM if at + FRAME >= len(body or b"") else 0
            sent += _frame(DATA, ends, (body or b"")[at : at + FRAME], stream)
        self.connection.sendall(sent)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames as they come, until the connection ends."""
        while True:
            head = read_exactly(self.connection, 9)
            length = int.from_bytes(head[:3], "big")
            kind, flags, stream = struct.unpack("!BBI", head[3:])
            yield Frame(kind, flags, stream, read_exactly(self.connection, length))

    def receive(self, wanted: int) -> bytes:
        """Return the content of the next frame of that kind."""
        return next(frame.content for frame in self.frames() if frame.kind == wanted)

    def answer(self, stream: int) -> bytes:
        """Return the body of a stream's answer, or what came of it before it was reset."""
        return self.answers([stream])[stream]

    def answers(self, streams: Iterable[int]) -> dict[int, bytes]:
        """Return the bodies of these streams' answers, by stream."""
        bodies = dict.fromkeys(streams, b"")
        left = set(bodies)
        for frame in self.frames():
            if frame.stream not in left:
                continue
            if frame.kind == DATA:
                bodies[frame.stream] += frame.content
            if frame.kind == RST_STREAM or frame.flags & END_STREAM:
                left.remove(frame.stream)
            if not left:
                break
        return bodies

    def status(self, stream: int) -> str:
        """Return a stream's status, or which ended first: the stream or the connection."""
        for frame in self.frames():
            if frame.kind == GOAWAY:
                break
            if frame.stream == stream and frame.kind == RST_STREAM:
                return "stream reset"
            if frame.stream == stream and frame.kind == HEADERS:
                return _status(frame.content)
        return "connection closed"

    def open(self, **fields: str) -> bool:
        """Ask for a websocket (RFC 8441); return whether it was opened."""
        pseudo = {":method": "CONNECT", ":protocol": "websocket", ":scheme": "https"}
        names = {**pseudo, **{name.replace("_", ":", 1): value for name, value in fields.items()}}
        self.send(HEADERS, END_HEADERS, block(names))
        return self.receive(HEADERS).startswith(STATUS_200)


def block(fields: Fields) -> bytes:
    """Encode a head as HPACK literals without an index."""
    return b"".join(
        b"\x00" + _text(name.encode()) + _text(value.encode())
        for name, value in (fields.items() if isinstance(fields, dict) else fields)
    )


def _status(head: bytes) -> str:
    """Decode the first field of an answer (RFC 7541, 6.1 and 6.2), which is `:status`."""
    while head[0] & 0xE0 == 0x20:  # a change of the table's size comes before it
        head = head[1:]
    if head[0] & 0x80:
        return _STATUSES[head[0] & 0x7F]
    value = head[2 : 2 + (head[1] & 0x7F)]
    return _digits(value) if head[1] & 0x80 else value.decode()


def _digits(value: bytes) -> str:
    """Decode three digits in Huffman's code (RFC 7541, B).

    0 to 2 have 5 bits, others 6.
    """
    bits = "".join(f"{byte:08b}" for byte in value)
    text = ""
    while len(text) < 3:
        width = 5 if bits[:5] in ("00000", "00001", "00010") else 6
        code, bits = int(bits[:width], 2), bits[width:]
        text += str(code if width == 5 else code - 0b011001 + 3)
    return text


def _text(value: bytes) -> bytes:
    if len(value) < 127:
        return bytes([len(value)]) + value
    rest, encoded = len(value) - 127, b"\x7f"
    while rest >= 128:
        encoded += bytes([rest % 128 + 128])
        rest //= 128
    return encoded + bytes([rest]) + value


def _frame(kind: int, flags: int, content: bytes, stream: int) -> bytes:
    return struct.pack("!I", len(content))[1:] + struct.pack("!BBI", kind, flags, stream) + content
