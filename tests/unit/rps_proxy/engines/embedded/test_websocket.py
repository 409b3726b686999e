"""The websocket relay between wsproto's client and server (RFC 6455).

wsproto is an independent implementation. The bytes arrive in pieces of any size. The relay inserts pings
and, when the session ends, a close frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import StreamWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate

from rps_proxy.engine import Traffic
from rps_proxy.engines.embedded.websocket import Pipe, Relay

FROM_THE_RELAY = b""  # the payload of its pings; those of the peers have one
GOING_AWAY = 1001  # RFC 6455, 7.4.1

payloads = st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536]).map(lambda size: b"\x88" * size)
fragments = st.lists(payloads, min_size=1, max_size=3)
messages = fragments.map(
    lambda parts: [
        BytesMessage(data=part, message_finished=number == len(parts))
        for number, part in enumerate(parts, 1)
    ]
)
texts = st.lists(st.text(max_size=200), min_size=1, max_size=3).map(
    lambda parts: [
        TextMessage(data=part, message_finished=number == len(parts))
        for number, part in enumerate(parts, 1)
    ]
)
control = st.binary(min_size=1, max_size=125)
controls = st.one_of(control.map(lambda data: [Ping(data)]), control.map(lambda data: [Pong(data)]))
conversations = st.lists(st.one_of(messages, texts, controls), min_size=1, max_size=5).map(
    lambda lists: [event for each in lists for event in each]
)
cuts = st.lists(st.integers(0, 10**6), max_size=20)


class Wire(asyncio.Transport):
    """A connection to one of the peers, in memory."""

    def __init__(self, peer: Connection) -> None:
        super().__init__()
        self._peer = peer
        self.written = b""
        self.received: list[Event] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data
        self._peer.receive_data(bytes(data))
        self.received += self._peer.events()  # RemoteProtocolError: bytes that are no websocket's

    def close(self) -> None:
        self.closed = True


@dataclass
class Stand:
    """A relay with its two peers, of which one is the sender."""

    sender: Connection
    pipe: Pipe
    relay: Relay
    wire: Wire
    sent: list[Event] = field(default_factory=list)


def stand(*, from_client: bool, compressed: bool) -> Stand:
    at_client, at_server = PerMessageDeflate(), PerMessageDeflate()
    accepted = at_server.accept(str(at_client.offer()))
    at_client.finalize(str(accepted))
    client = Connection(ConnectionType.CLIENT, [at_client] if compressed else [])
    notebook = Connection(ConnectionType.SERVER, [at_server] if compressed else [])
    loop = asyncio.get_running_loop()
    sides = []
    for peer in (client, notebook):
        protocol = BaseProtocol(loop)
        wire = Wire(peer)
        protocol.connection_made(wire)
        sides.append((protocol, StreamWriter(protocol, loop), wire))
    (browser, browser_writer, to_client), (jupyter, jupyter_writer, to_notebook) = sides
    relay = Relay(
        browser, browser_writer, jupyter, jupyter_writer, Traffic(), ping_every=1e6, dead_after=1e6
    )
    if from_client:
        return Stand(client, relay.from_client, relay, to_notebook)
    return Stand(notebook, relay.from_notebook, relay, to_client)


def pieces(stream: bytes, marks: list[int]) -> Iterator[bytes]:
    for start, stop in pairwise(sorted({0, len(stream), *(m % len(stream) for m in marks)})):
        yield stream[start:stop]


def whole(events: list[Event]) -> list[object]:
    """Messages joined: wsproto reports a part of one for each piece that arrives."""
    found: list[object] = []
    parts: list[bytes | str] = []
    for event in events:
        if not isinstance(event, Message):
            found.append(event)
            continue
        parts.append(event.data if isinstance(event.data, str) else bytes(event.data))
        if event.message_finished:
            found.append("".join(map(str, parts)) if isinstance(parts[0], str) else b"".join(parts))  # type: ignore[arg-type]
            parts = []
    # A control frame may come between a message's fragments, so the messages have an order of their own.
    return sorted(found, key=lambda one: isinstance(one, bytes | str))


@settings(deadline=None, max_examples=60)
@given(
    conversation=conversations,
    cuts=cuts,
    pinged=st.sets(st.integers(0, 20)),
    from_client=st.booleans(),
    compressed=st.booleans(),
)
def test_what_one_peer_sends_the_other_receives_and_pings_come_between_frames(
    conversation: list[Event],
    cuts: list[int],
    pinged: set[int],
    from_client: bool,
    compressed: bool,
) -> None:
    async def relayed() -> None:
        # wsproto 1.3.2 does not decompress a message's fragments after a control frame between them
        # (`PerMessageDeflate.frame_inbound_complete`), which RFC 6455, 5.4 allows.
        fragmented = not all(getattr(event, "message_finished", True) for event in conversation)
        here = stand(from_client=from_client, compressed=compressed and not fragmented)
        stream = b"".join(map(here.sender.send, conversation))
        asked = 0
        for number, piece in enumerate(pieces(stream, cuts)):
            here.pipe.feed_data(piece)
            if number in pinged:
                here.pipe.ping()
                asked += 1
        pings = here.wire.received.count(Ping(FROM_THE_RELAY))
        assert min(asked, 1) <= pings <= asked
        others = [event for event in here.wire.received if event != Ping(FROM_THE_RELAY)]
        assert whole(others) == whole(conversation)
        here.relay.finish()

    asyncio.run(relayed())


@settings(deadline=None, max_examples=60)
@given(
    conversation=conversations,
    cuts=cuts,
    until=st.integers(0, 20),
    by_the_sender=st.booleans(),
    from_client=st.booleans(),
)
def test_the_end_of_a_session_closes_with_1001_after_a_whole_frame_and_at_most_once(
    conversation: list[Event], cuts: list[int], until: int, by_the_sender: bool, from_client: bool
) -> None:
    async def relayed() -> None:
        here = stand(from_client=from_client, compressed=False)
        frames = [here.sender.send(event) for event in conversation]
        if by_the_sender:
            frames.append(here.sender.send(CloseConnection(code=1000)))
        stream = b"".join(frames)
        arrived = 0
        for piece in list(pieces(stream, cuts))[: until + 1]:
            here.pipe.feed_data(piece)
            arrived += len(piece)
        here.relay.end()
        ends = {sum(map(len, frames[:number])) for number in range(len(frames) + 1)}
        closes = [each.code for each in here.wire.received if isinstance(each, CloseConnection)]
        if by_the_sender and arrived == len(stream):
            assert closes == [1000]
            assert here.wire.written == stream  # nothing may follow a close frame (RFC 6455, 5.5.1)
        else:
            assert closes == ([GOING_AWAY] if arrived in ends else [])
        assert here.wire.closed

    asyncio.run(relayed())
