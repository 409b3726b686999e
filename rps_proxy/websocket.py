"""Websockets: two raw pipes, and just enough of RFC 6455 to speak between their frames.

Frames pass as they are (masks, compression and subprotocols are between the browser and the
notebook). We only follow where one ends, to put in a ping that shows whether the peer still lives,
or a close when the session ends. Pongs to our pings travel on to the other side, which by section
5.5.3 takes them as unsolicited and ignores them.
"""

from __future__ import annotations

import asyncio
import os
from typing import Protocol

from aiohttp.http import StreamWriter

from rps_proxy.engines import Traffic

_PING, _CLOSE = 0x89, 0x88
_CLOSE_OPCODE = 0x8
_GOING_AWAY = (1001).to_bytes(2, "big")


class Connection(Protocol):
    """What aiohttp's protocols have in common, as far as a pipe needs it."""

    transport: asyncio.Transport | None

    @property
    def writing_paused(self) -> bool:
        """Whether the peer takes less than is written."""


class Frames:
    """Follows the frames in one direction."""

    def __init__(self) -> None:
        self._head = b""  # of a frame whose head has not come in full
        self._left = 0  # bytes of the current frame's payload
        self.closed = False  # a close frame went by: nothing may follow it

    @property
    def between(self) -> bool:
        """Whether what was fed so far ends with the end of a frame."""
        return not self._left and not self._head

    def feed(self, data: bytes) -> int:
        """Take in the next bytes; the position in them behind the last frame that ends, or -1."""
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
    """Where the payload of the frame at `position` starts, and its length.

    A start behind `size` says that the frame's head is not complete.
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
    """One direction. aiohttp gives it the bytes of `source` as if it were a parser of payload."""

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
        self.heard = self._loop.time()  # when bytes last came from the source

    @property
    def held_back(self) -> bool:
        """Whether nothing is read because the target does not take what was."""
        return self._resuming is not None

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Called by aiohttp; passes the bytes on at once."""
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
        """Called by aiohttp when the source's connection is gone."""
        self._relay.finish()

    def ping(self) -> None:
        """Send the target a ping, now or when the frame under way has ended."""
        if self._frames.closed or self._target.transport is None:
            return
        if self._frames.between:
            self._target.transport.write(self._frame(_PING))
        else:
            self._ping_waits = True

    def close(self) -> None:
        """Close the target's connection, saying why where the stream allows it."""
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
            return  # the target is gone, which ends the relay anyhow
        self._resuming = None
        if self._source.transport is not None:
            self._source.transport.resume_reading()


class Relay:
    """A websocket between a client and a notebook, until one of them, or the session, ends."""

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
        """Wait for the end; both connections are closed then, also when cancelled."""
        self.traffic.websockets += 1
        try:
            await self._done
        finally:
            self.traffic.websockets -= 1
            self.finish()

    def end(self) -> None:
        """The session is over: say so to both sides."""
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
        """Ping who was silent; give up who was silent for too long."""
        now = self._loop.time()
        for heard, answering in (
            (self.from_client, self.from_notebook),
            (self.from_notebook, self.from_client),
        ):
            if heard.held_back:  # we are not listening, so its silence says nothing
                heard.heard = now
            silent = now - heard.heard
            if silent >= self._dead_after:
                self.finish()
                return
            if silent >= self._ping_every * 0.75:  # so that one comes within `ping_every`
                answering.ping()
        self._timer = self._loop.call_later(self._ping_every / 4, self._look)
