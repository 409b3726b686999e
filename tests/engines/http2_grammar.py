"""Random conversations in HTTP/2: odd headers, and bodies with a wrong end."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from tests.engines.requests_grammar import Grammar, Place

if TYPE_CHECKING:
    from tests.engines.fuzzing import Said

PATIENCE = 0.4
_PSEUDO = ("javascript", "http", "", "https\x00", "x y")


@dataclass
class Http2:
    """HTTP/2 on a connection that `connect` makes."""

    connect: Callable[[], socket.socket]
    place: Place

    def say(self, random: Random) -> Said:
        """Open a few streams; their statuses."""
        from tests.engines.fuzzing import Said

        grammar = Grammar(random, self.place)
        config = h2.config.H2Configuration(
            validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding=None
        )
        client = h2.connection.H2Connection(config)
        client.initiate_connection()
        sent: list[bytes] = []
        statuses: list[int] = []
        answer = b""
        with self.connect() as connection, contextlib.suppress(OSError):
            connection.settimeout(PATIENCE)
            streams = random.choice((1, 1, 2, 5))
            for _ in range(streams):
                with contextlib.suppress(h2.exceptions.H2Error, ValueError):
                    sent.append(self._open(client, grammar, random))
                outgoing = client.data_to_send()
                if random.random() < 0.03 and outgoing:
                    at = random.randrange(len(outgoing))
                    outgoing = (
                        outgoing[:at] + random.randbytes(random.randrange(1, 20)) + outgoing[at:]
                    )
                connection.sendall(outgoing)
            over: set[int | None] = set()
            while len(over) < streams and (received := connection.recv(65536)):
                try:
                    events = client.receive_data(received)
                except (h2.exceptions.H2Error, ValueError):
                    break
                for event in events:
                    if isinstance(event, h2.events.ResponseReceived):
                        statuses.append(int(dict(event.headers or ()).get(b":status", b"0")))
                        answer += (
                            repr(event.headers).encode().replace(b"b'server', b'", b"Server: ")
                        )
                    elif isinstance(event, h2.events.DataReceived):
                        answer += event.data or b""
                    elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                        over.add(event.stream_id)
                connection.sendall(client.data_to_send())
        return Said(b"\n".join(sent), answer, statuses)

    def _open(self, client: h2.connection.H2Connection, grammar: Grammar, random: Random) -> bytes:
        host, path = grammar.target()
        method = random.choice(
            ("GET", "GET", "POST", "POST", "HEAD", "OPTIONS", "PUT", "CONNECT", "G@T", "TRACE")
        )
        fields = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path)]
        if random.random() < 0.05:
            fields[1] = (":scheme", random.choice(_PSEUDO))
        if random.random() < 0.05:
            fields.pop(random.randrange(4))
        if random.random() < 0.03:
            fields.append(random.choice(fields))
        if random.random() < 0.05:
            fields.append((":protocol", "websocket"))
            fields[0] = (":method", "CONNECT")
        if random.random() < 0.1:
            fields.append(("host", random.choice((host, "evil.example", ""))))
        fields += [
            (name.lower() if random.random() < 0.97 else name, value)
            for name, value in grammar.fields(host)
        ]
        body = grammar.content() if random.random() < 0.6 else b""
        draw = random.random()
        if body and draw < 0.7:
            fields.append(
                ("content-length", str(len(body) if draw < 0.6 else random.randrange(30)))
            )
        if random.random() < 0.03:
            fields.append(("transfer-encoding", "chunked"))
        encoded = [
            (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
            for name, value in fields
        ]
        stream = client.get_next_available_stream_id()
        client.send_headers(stream, encoded, end_stream=not body)
        for at in range(0, len(body), 16000):
            part = body[at : at + 16000]
            client.send_data(stream, part, end_stream=False)
        if body:
            end = random.random()
            if end < 0.8:
                client.send_data(stream, b"", end_stream=True)
            elif end < 0.9:
                client.send_headers(
                    stream, [(b"x-last", b"1"), (b"host", b"evil")], end_stream=True
                )
            elif end < 0.95:
                client.reset_stream(stream)
        return repr(encoded).encode() + b"\n" + body
