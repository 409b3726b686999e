"""Server-sent events for waiting pages, at `/.rps/events`: one stream a page.

A session's state is computed once for all its pages, at each of its events and at each heartbeat, and written
once in each language. A page without a stream polls `/.rps/state` instead.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

from aiohttp import web

from rps_core.log import get_logger
from rps_proxy.pages.catalogue import Catalogue, Language
from rps_proxy.pages.render import HEADERS, as_sent, language_headers
from rps_proxy.pages.state import FINAL, PageState
from rps_proxy.refusals import BusyError

HEARTBEAT = 15.0  # seconds; firewalls and NAT drop connections that are idle for 30 or more
SLOWEST = 20.0  # seconds; timeout of a write to a page
COME_BACK = 3000  # milliseconds; a page's delay before it reconnects

_NOTHING = b": \n\n"

_log = get_logger("rps.waiting")


class _Stream:
    """A page's stream: its language, the state sent last, and the text to send next."""

    __slots__ = ("language", "next", "sent", "wake")

    def __init__(self, language: Language) -> None:
        self.language = language
        self.sent: PageState | None = None
        self.next = b""
        self.wake = asyncio.Event()

    def offer(self, standing: PageState, text: bytes, *, beat: bool) -> None:
        if standing != self.sent:
            self.sent, self.next = standing, text
            self.wake.set()
        elif beat and not self.next:
            self.next = _NOTHING
            self.wake.set()


class Waiting:
    """The open streams, by session name; `find` returns a session's state, `catalogue` has the texts.

    At most `most` in all, and `most_of_one` of one session.
    """

    def __init__(
        self,
        find: Callable[[str], PageState],
        most: int,
        most_of_one: int,
        catalogue: Catalogue,
    ) -> None:
        self._find = find
        self._catalogue = catalogue
        self._most = most
        self._most_of_one = most_of_one
        self._streams: dict[str, set[_Stream]] = {}
        self._beaten = time.monotonic()
        self._closed = False
        self.open = 0

    def changed(self, name: str) -> None:
        """Send a session's state to its pages, if it changed."""
        if name in self._streams:
            self._send(name, beat=False)

    def beat(self) -> None:
        """Send each page its state, or a comment when a heartbeat is due."""
        if time.monotonic() - self._beaten < HEARTBEAT:
            return
        self._beaten = time.monotonic()
        for name in list(self._streams):
            self._send(name, beat=True)

    def close(self) -> None:
        """End every stream; browsers reconnect."""
        self._closed = True
        for streams in self._streams.values():
            for stream in streams:
                stream.wake.set()

    async def stream(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        """Send a page its session's states until a final one, or until the page is closed."""
        if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return _refusal(403)  # pages of other sites must not use up the streams
        if self._find(name).state in FINAL:
            return _refusal(204)  # browsers do not reconnect after a 204
        streams = self._streams.get(name, set())
        if self._closed or self.open >= self._most or len(streams) >= self._most_of_one:
            response = _refusal(503)
            response.headers["Retry-After"] = "60"
            return response
        stream = _Stream(self._catalogue.preferred(request.headers.get("Accept-Language", "")))
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
            headers={
                **HEADERS,
                **language_headers(stream.language),
                "Content-Type": "text/event-stream; charset=utf-8",
            }
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
            self._send(name, beat=False)
            while not self._closed:
                await stream.wake.wait()
                stream.wake.clear()
                sent = stream.sent  # before the next line: it may change during the write
                text, stream.next = stream.next, b""
                if not text:
                    continue
                async with asyncio.timeout(SLOWEST):
                    await response.write(text)
                if sent is not None and sent.state in ("ready", *FINAL):
                    break
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the page does not read its stream") from None
        return response

    def _send(self, name: str, *, beat: bool) -> None:
        try:
            standing = self._find(name)
        except BusyError as error:  # the caller's change must not fail because of a page
            _log.error("registry-not-read", reason=str(error))
            return
        texts: dict[str, bytes] = {}
        for stream in self._streams.get(name, ()):
            language = stream.language
            if language.tag not in texts:
                sent = json.dumps(as_sent(standing, language)).encode()
                texts[language.tag] = b"data: %s\n\n" % sent
            stream.offer(standing, texts[language.tag], beat=beat)


def _refusal(status: int) -> web.Response:
    return web.Response(status=status, headers=HEADERS)
