"""Relay websockets: two raw pipes, and the parts of RFC 6455 that pings need.

Frames pass unchanged (masks, compression and subprotocols are between the browser and the notebook). The
relay only finds the end of each frame, to insert a ping, which shows whether the peer still answers, or a
close when the session ends. The pongs reach the other side, which ignores them as unsolicited (5.5.3).
"""

from __future__ import annotations

import asyncio
import os
from typing import Protocol

from aiohttp.http import StreamWriter

from rps_proxy.engine import Traffic

_PING, _CLOSE = 0x89, 0x88
_CLOSE_OPCODE = 0x8
_GOING_AWAY = (1001).to_bytes(2, "big")


class Connection(Protocol):
    """The part of aiohttp's protocols that a pipe uses."""

    transport: asyncio.Transport | None

    @property
    def writing_paused(self) -> bool:
        """Whether the peer reads more slowly than is written."""


class Frames:
    """Find the ends of the frames in one direction."""

    def __init__(self) -> None:
        self._head = b""  # of a frame whose head is incomplete
        self._left = 0  # bytes of the current frame's payload
        self.closed = False  # a close frame passed: nothing may follow it

    @property
    def between(self) -> bool:
        """Whether the bytes so far end with the end of a frame."""
        return not self._left and not self._head

    def feed(self, data: bytes) -> int:
        """Parse `data`; return the position after the last complete frame, or -1."""
        before = len(self._head)
        if before:
            data = self._head + data
            self._head = b""
        size = len(data)
        position = min(self._left, size)
        self._left -= position
        end = position if position and not self._left else -1
        while position < size:
            start, length = _payload(data, position, size)
            if start > size:
                self._head = data[position:]
                break
            self.closed = self.closed or data[position] & 0x0F == _CLOSE_OPCODE
            position = start + length
            if position > size:
                self._left = position - size
            else:
                end = position
        return end - before if end >= 0 else -1


def _payload(data: bytes, position: int, size: int) -> tuple[int, int]:
    """Return where the payload of the frame at `position` starts, and its length.

    A start above `size` means that the frame's head is incomplete.
    """
    if size - position < 2:
        return size + 1, 0
    second = data[position + 1]
    length = second & 0x7F
    start = position + (6 if second & 0x80 else 2)
    if length >= 126:
        wide = 2 if length == 126 else 8
        start += wide
        if start <= size:
            length = int.from_bytes(data[position + 2 : position + 2 + wide], "big")
    return start, length


class Pipe:
    """One direction; aiohttp passes it the bytes of `source` as to a payload parser."""

    def __init__(
        self,
        relay: Relay,
        source: Connection,
        target: Connection,
        writer: StreamWriter,
        *,
        masked: bool,
    ) -> None:
        self._relay = relay
        self._source = source
        self._target = target
        self._writer = writer
        self._masked = masked
        self._loop = asyncio.get_running_loop()
        self._frames = Frames()
        self._ping_waits = False
        self._resuming: asyncio.Task[None] | None = None
        self.heard = self._loop.time()  # when bytes last arrived from the source

    @property
    def held_back(self) -> bool:
        """Whether reading is paused because the target does not read."""
        return self._resuming is not None

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Forward bytes at once; aiohttp calls it."""
        self.heard = self._loop.time()
        transport = self._target.transport
        if transport is None or self._relay.over:
            return False, b""
        end = self._frames.feed(data)
        if self._ping_waits and end >= 0 and not self._frames.closed:
            self._ping_waits = False
            data = data[:end] + self._frame(_PING) + data[end:]
        transport.write(data)
        if self._masked:
            self._relay.traffic.received += len(data)
        else:
            self._relay.traffic.sent += len(data)
        if self._target.writing_paused and self._resuming is None and self._source.transport:
            self._source.transport.pause_reading()
            self._resuming = self._loop.create_task(self._resume())
        return False, b""

    def feed_eof(self) -> None:
        """End the relay; aiohttp calls it when the source's connection is closed."""
        self._relay.finish()

    def ping(self) -> None:
        """Send the target a ping, now or after the current frame."""
        if self._frames.closed or self._target.transport is None:
            return
        if self._frames.between:
            self._target.transport.write(self._frame(_PING))
        else:
            self._ping_waits = True

    def close(self) -> None:
        """Close the target's connection, with a close frame if between two frames."""
        if self._resuming is not None:
            self._resuming.cancel()
        transport = self._target.transport
        if transport is None:
            return
        if self._relay.going_away and self._frames.between and not self._frames.closed:
            transport.write(self._frame(_CLOSE, _GOING_AWAY))
        transport.close()

    def _frame(self, first: int, payload: bytes = b"") -> bytes:
        if not self._masked:
            return bytes((first, len(payload))) + payload
        mask = os.urandom(4)
        hidden = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        return bytes((first, 0x80 | len(payload))) + mask + hidden

    async def _resume(self) -> None:
        try:
            await self._writer.drain()
        except ConnectionError:
            return  # the target is closed, which ends the relay
        self._resuming = None
        if self._source.transport is not None:
            self._source.transport.resume_reading()


class Relay:
    """A websocket between a client and a notebook, until one of them closes it."""

    def __init__(
        self,
        client: Connection,
        client_writer: StreamWriter,
        notebook: Connection,
        notebook_writer: StreamWriter,
        traffic: Traffic,
        *,
        ping_every: float,
        dead_after: float,
    ) -> None:
        self.from_client = Pipe(self, client, notebook, notebook_writer, masked=True)
        self.from_notebook = Pipe(self, notebook, client, client_writer, masked=False)
        self.traffic = traffic
        self.over = False
        self.going_away = False
        self._ping_every = ping_every
        self._dead_after = dead_after
        self._loop = asyncio.get_running_loop()
        self._done = self._loop.create_future()
        self._timer = self._loop.call_later(ping_every / 4, self._look)

    async def run(self) -> None:
        """Wait for the end, and close both connections, also when cancelled."""
        self.traffic.websockets += 1
        try:
            await self._done
        finally:
            self.traffic.websockets -= 1
            self.finish()

    def end(self) -> None:
        """Close both sides with a close frame (1001, going away): the session ended."""
        self.going_away = True
        self.finish()

    def finish(self) -> None:
        """Close both connections."""
        if self.over:
            return
        self._timer.cancel()
        self.from_client.close()
        self.from_notebook.close()
        self.over = True
        if not self._done.done():
            self._done.set_result(None)

    def _look(self) -> None:
        """Ping a silent peer; end the relay when one was silent for too long."""
        now = self._loop.time()
        for heard, answering in (
            (self.from_client, self.from_notebook),
            (self.from_notebook, self.from_client),
        ):
            if heard.held_back:  # reading is paused, so its silence has no meaning
                heard.heard = now
            silent = now - heard.heard
            if silent >= self._dead_after:
                self.finish()
                return
            if silent >= self._ping_every * 0.75:  # so that one comes within `ping_every`
                answering.ping()
        self._timer = self._loop.call_later(self._ping_every / 4, self._look)
