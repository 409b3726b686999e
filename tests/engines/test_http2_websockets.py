"""Websockets over HTTP/2 (RFC 8441), as browsers open them where the server offers it: HAProxy does."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines.stand import Stand, running
from tests.faults.service_stand import read_exactly

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS = 0, 1, 4
END_HEADERS = 4
ENABLE_CONNECT_PROTOCOL = 8
STATUS_200 = b"\x88"  # of HPACK's static table


@pytest.fixture
def haproxy(tmp_path: Path, need: Callable[[str], str]) -> Iterator[Stand]:
    with running(tmp_path, "haproxy", need) as stand:
        yield stand


class Client:
    """One connection of HTTP/2 with one stream."""

    def __init__(self, stand: Stand, host: str) -> None:
        context = ssl.create_default_context(cafile=str(stand.directory / "ca" / "ca.pem"))
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", stand.port), 20)
        self.connection = context.wrap_socket(plain, server_hostname=host.partition(":")[0])
        assert self.connection.selected_alpn_protocol() == "h2"
        self.connection.sendall(PREFACE)
        self.send(SETTINGS, 0, b"", stream=0)

    def send(self, kind: int, flags: int, content: bytes, stream: int = 1) -> None:
        head = struct.pack("!I", len(content))[1:] + struct.pack("!BBI", kind, flags, stream)
        self.connection.sendall(head + content)

    def receive(self, wanted: int) -> bytes:
        """The next frame of that kind."""
        while True:
            head = read_exactly(self.connection, 9)
            content = read_exactly(self.connection, int.from_bytes(head[:3], "big"))
            if head[3] == wanted:
                return content

    def open(self, **fields: str) -> bool:
        """Ask for a websocket; whether it was opened."""
        pseudo = {":method": "CONNECT", ":protocol": "websocket", ":scheme": "https"}
        names = {**pseudo, **{name.replace("_", ":", 1): value for name, value in fields.items()}}
        block = b"".join(
            b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
            for name, value in names.items()
        )
        self.send(HEADERS, END_HEADERS, block)
        return self.receive(HEADERS).startswith(STATUS_200)


@pytest.mark.parametrize("origin", ["https://{host}", "https://evil.example", None])
def test_their_origin_is_checked(haproxy: Stand, origin: str | None) -> None:
    with haproxy.notebook() as (session, notebook):
        client = Client(haproxy, session.host)
        with client.connection:
            offered = client.receive(SETTINGS)
            settings = dict(struct.iter_unpack("!HI", offered))
            assert settings[ENABLE_CONNECT_PROTOCOL] == 1
            fields = {"_authority": session.host, "_path": "/ws", "sec-websocket-version": "13"}
            if origin is not None:
                fields["origin"] = origin.format(host=session.host)
            ours = origin is None or "evil" not in origin
            assert client.open(**fields) is ours
            if ours:
                client.send(DATA, 0, bytes.fromhex("818100000000") + b"x")
                assert client.receive(DATA) == bytes.fromhex("818100000000") + b"x"
        assert notebook.requests == (["GET /ws HTTP/1.1"] if ours else [])
