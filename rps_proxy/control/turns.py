"""Turns for a limited number of concurrent tasks, shared fairly by addresses."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from rps_proxy.refusals import Refusal, RefusedError


class FairTurns:
    """Turns for `at_once` tasks. Waiting sources get them in rotation.

    So no source waits behind another's queue. A source has at most `most_waiting` requests in its queue; more
    are refused as `full`.
    """

    def __init__(self, at_once: int, most_waiting: int, full: Refusal) -> None:
        self._free = at_once
        self._full = full
        self._most_waiting = most_waiting
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # the next source first

    @asynccontextmanager
    async def of(self, source: str) -> AsyncIterator[None]:
        """Wait for a turn, and hold it during the body.

        Raises:
            RefusedError: `full`: too many requests of that source wait.
        """
        await self._wait(source)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, source: str) -> None:
        if self._free:
            self._free -= 1
            return
        queue = self._waiting.setdefault(source, deque())
        if len(queue) >= self._most_waiting:
            raise RefusedError(self._full)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):  # its turn came before, and was passed on
                    queue.remove(turn)
                if not queue and self._waiting.get(source) is queue:
                    del self._waiting[source]
            else:  # its turn came as the caller disconnected
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Give a free turn to the next source."""
        while self._waiting:
            source, queue = next(iter(self._waiting.items()))
            del self._waiting[source]
            turn = queue.popleft()
            if queue:
                self._waiting[source] = queue  # to the end
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
