"""The pages that wait, each with one answer that does not end: server-sent events at `/.rps/events`.

How a session stands is found out once for all pages of it, when something happened to it, and again with
each heartbeat. A page that may not have a stream, or loses it, asks `/.rps/state` instead.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

from aiohttp import web

from rps_core.log import get_logger
from rps_proxy.group_commit import BusyError
from rps_proxy.pages import HEADERS, told
from rps_proxy.standing import OVER, Standing

HEARTBEAT = (
    15.0  # seconds; whatever lies between forgets a connection that is silent for 30 or more
)
SLOWEST = 20.0  # seconds that a page may take to read what it is sent
COME_BACK = 3000  # milliseconds after which a page whose stream broke off asks for another

_NOTHING = b": \n\n"

_log = get_logger("rps.waiting")


class _Stream:
    """One page: what it was told, and what it is to be told next."""

    __slots__ = ("next", "told", "wake")

    def __init__(self) -> None:
        self.told: Standing | None = None
        self.next = b""
        self.wake = asyncio.Event()

    def say(self, standing: Standing, text: bytes, *, beat: bool) -> None:
        if standing != self.told:
            self.told, self.next = standing, text
            self.wake.set()
        elif beat and not self.next:
            self.next = _NOTHING
            self.wake.set()


class Waiting:
    """The open streams, by the session's name; `find` tells how a session stands.

    At most `most` in all, and `most_of_one` of one session.
    """

    def __init__(self, find: Callable[[str], Standing], most: int, most_of_one: int) -> None:
        self._find = find
        self._most = most
        self._most_of_one = most_of_one
        self._streams: dict[str, set[_Stream]] = {}
        self._beaten = time.monotonic()
        self._closed = False
        self.open = 0

    def changed(self, name: str) -> None:
        """Something happened to that session: tell its pages, if it shows."""
        if name in self._streams:
            self._tell(name, beat=False)

    def beat(self) -> None:
        """Called every few seconds: when it is time, every page hears something, news or not."""
        if time.monotonic() - self._beaten < HEARTBEAT:
            return
        self._beaten = time.monotonic()
        for name in list(self._streams):
            self._tell(name, beat=True)

    def close(self) -> None:
        """End every stream; browsers come back by themselves."""
        self._closed = True
        for streams in self._streams.values():
            for stream in streams:
                stream.wake.set()

    async def stream(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        """Tell one page how its session stands until there is nothing more to tell, or it goes away."""
        if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return _refusal(403)  # another site's page would use up what ours may have
        if self._find(name).state in OVER:
            return _refusal(204)  # and a browser does not come back
        streams = self._streams.get(name, set())
        if self._closed or self.open >= self._most or len(streams) >= self._most_of_one:
            response = _refusal(503)
            response.headers["Retry-After"] = "60"
            return response
        stream = _Stream()
        self._streams.setdefault(name, streams).add(stream)
        self.open += 1
        try:
            return await self._carry(request, name, stream)
        finally:
            self.open -= 1
            streams.discard(stream)
            if not streams:
                self._streams.pop(name, None)

    async def _carry(
        self, request: web.BaseRequest, name: str, stream: _Stream
    ) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={**HEADERS, "Content-Type": "text/event-stream; charset=utf-8"}
        )
        response.content_length = None
        if request.version < (1, 1):
            response.force_close()
        else:
            response.enable_chunked_encoding()
        try:
            async with asyncio.timeout(SLOWEST):
                await response.prepare(request)
                await response.write(b"retry: %d\n\n" % COME_BACK)
            self._tell(name, beat=False)
            while not self._closed:
                await stream.wake.wait()
                stream.wake.clear()
                said = stream.told  # by the next line, and not by what comes while it is written
                text, stream.next = stream.next, b""
                if not text:
                    continue
                async with asyncio.timeout(SLOWEST):
                    await response.write(text)
                if said is not None and said.state in ("ready", *OVER):
                    break
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("a page that reads nothing") from None
        return response

    def _tell(self, name: str, *, beat: bool) -> None:
        try:
            standing = self._find(name)
        except BusyError as error:  # whoever changed something is not to fail for a page
            _log.error("registry-not-read", reason=str(error))
            return
        text = b"data: %s\n\n" % json.dumps(told(standing)).encode()
        for stream in self._streams.get(name, ()):
            stream.say(standing, text, beat=beat)


def _refusal(status: int) -> web.Response:
    return web.Response(status=status, headers=HEADERS)
