"""A page's event stream (server-sent events), read as a browser reads it."""

from __future__ import annotations

import json
import ssl
from typing import Any

from tests.stands.service import Service, read_head

# seconds; less than the heartbeat's 15, so an event that arrives was sent when it happened
LATE = 8


class EventStream:
    """Server-sent events of a session's host, on a connection of their own."""

    def __init__(self, service: Service, host: str, **headers: str) -> None:
        self.connection: ssl.SSLSocket = service.connect(host)
        self.connection.settimeout(LATE)
        fields = {"Host": host, "Accept": "text/event-stream", **headers}
        lines = [
            "GET /.rps/events HTTP/1.1",
            *(f"{name}: {value}" for name, value in fields.items()),
        ]
        self.connection.sendall("\r\n".join([*lines, "", ""]).encode())
        self.head = read_head(self.connection)
        self.status = int(self.head.split()[1])
        self._chunked = "transfer-encoding: chunked" in self.head.lower()
        self._read = b""
        self.comments = 0

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def event(self) -> dict[str, Any] | None:
        """Return the next event; None if the stream ends before it."""
        while True:
            block = self._block()
            if block is None:
                return None
            if block.startswith(b":"):
                self.comments += 1
            elif block.startswith(b"data: "):
                found: dict[str, Any] = json.loads(block.removeprefix(b"data: "))
                return found

    def _block(self) -> bytes | None:
        while b"\n\n" not in self._read:
            part = self._chunk() if self._chunked else self.connection.recv(65536)
            if not part:
                return None
            self._read += part
        block, _, self._read = self._read.partition(b"\n\n")
        return block

    def _chunk(self) -> bytes:
        size = int(self._until(b"\r\n"), 16)
        return self._until(b"\r\n", size)

    def _until(self, end: bytes, size: int = 0) -> bytes:
        found = b""
        while len(found) < size + len(end) or not found.endswith(end):
            part = self.connection.recv(1)
            assert part, found
            found += part
        return found[: -len(end)]
