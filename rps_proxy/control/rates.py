"""Rates of issuing names: of a proved user, else of an address and its users."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from math import ceil

from rps_proxy.refusals import BusyError, Refusal, RefusedError
from rps_proxy.registry.session import Request
from rps_proxy.settings.sections import Limits

MOST_BUCKETS = 10_000
# Seconds that a request waits for a token: below the ten of a launcher's `proxy.timeout`.
PATIENCE = 5.0
MOST_WAITING = 256  # requests of one address

_REFUSED = (RefusedError, BusyError)


class TooFastError(RefusedError):
    """More names than `limits` allow in a minute; retry after `after` seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(Refusal.TOO_FAST)
        self.after = max(1, ceil(seconds))


class Rate:
    """A bucket of `per_minute` tokens a caller, full after a minute; 0: no limit."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = per_minute
        self._clock = clock
        self._buckets: dict[Hashable, tuple[float, float]] = {}  # tokens left, and when that was

    def pause(self, caller: Hashable) -> float:
        """Return the seconds until the caller has a token; 0: it has one."""
        return max(0.0, 1 - self._left(caller)) * 60 / self._most if self._most else 0.0

    def take(self, caller: Hashable) -> None:
        """Take one token.

        Raises:
            TooFastError: the caller has none.
        """
        if not self._most:
            return
        if pause := self.pause(caller):
            raise TooFastError(pause)
        if len(self._buckets) >= MOST_BUCKETS and caller not in self._buckets:
            self._forget()
        self._buckets[caller] = self._left(caller) - 1, self._clock()

    def put_back(self, caller: Hashable) -> None:
        """Put one unused token back; a bucket that is full again needs no memory."""
        left = self._left(caller) + 1
        if left < self._most:
            self._buckets[caller] = left, self._clock()
        else:
            self._buckets.pop(caller, None)

    @contextmanager
    def taking(self, caller: Hashable) -> Iterator[None]:
        """Take one token, and put it back if the body is refused or cannot be written.

        Raises:
            TooFastError: the caller has none.
        """
        self.take(caller)
        try:
            yield
        except _REFUSED:
            self.put_back(caller)
            raise

    def _left(self, caller: Hashable) -> float:
        left, since = self._buckets.get(caller, (float(self._most), self._clock()))
        return min(self._most, left + (self._clock() - since) * self._most / 60)

    def _forget(self) -> None:
        """Forget callers whose last request is a minute old: their bucket is full again."""
        now = self._clock()
        self._buckets = {who: what for who, what in self._buckets.items() if now - what[1] < 60}


class SharedRate:
    """A rate of each address, whose users are not authenticated.

    A request without a token waits up to `PATIENCE` for one. The next token goes to a random waiting user:
    one who sends more requests, under one name, gets no more tokens.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = Rate(per_minute, clock)
        self._waiting: dict[str, _Queue] = {}

    @asynccontextmanager
    async def taking(self, source: str, user: str | None) -> AsyncIterator[None]:
        """As `Rate.taking`, once there is a token.

        Raises:
            TooFastError: there was none in time, or too many wait.
        """
        await self._take(source, user)
        try:
            yield
        except _REFUSED:
            self._rate.put_back(source)
            raise

    async def _take(self, source: str, user: str | None) -> None:
        queue = self._waiting.get(source)
        if queue is None:
            pause = self._rate.pause(source)
            if not pause:
                self._rate.take(source)
                return
            if pause > PATIENCE:
                raise TooFastError(pause)
            queue = self._waiting[source] = _Queue()
            self._grant_later(source, pause)
        if queue.length >= MOST_WAITING:
            raise TooFastError(PATIENCE)
        turn = queue.add(user)
        try:
            async with asyncio.timeout(PATIENCE):
                await turn
        except TimeoutError:
            raise TooFastError(PATIENCE) from None
        except asyncio.CancelledError:
            if not turn.cancelled():  # its turn came as the caller disconnected
                self._rate.put_back(source)
            raise
        finally:
            queue.discard(user, turn)

    def _grant(self, source: str) -> None:
        """Give the available tokens to waiting requests."""
        queue, pause = self._waiting[source], 0.0
        while queue.length and not (pause := self._rate.pause(source)):
            turn = queue.draw()
            if not turn.done():
                self._rate.take(source)
                turn.set_result(None)
        if queue.length:
            self._grant_later(source, pause)
        else:
            del self._waiting[source]

    def _grant_later(self, source: str, pause: float) -> None:
        asyncio.get_running_loop().call_later(pause, self._grant, source)


class _Queue:
    """Waiting requests, by user."""

    def __init__(self) -> None:
        self._users: dict[str | None, deque[asyncio.Future[None]]] = {}
        self.length = 0

    def add(self, user: str | None) -> asyncio.Future[None]:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._users.setdefault(user, deque()).append(turn)
        self.length += 1
        return turn

    def draw(self) -> asyncio.Future[None]:
        """Remove and return the first request of a random user."""
        user = secrets.choice(list(self._users))
        turn = self._users[user][0]
        self.discard(user, turn)
        return turn

    def discard(self, user: str | None, turn: asyncio.Future[None]) -> None:
        """Remove the request, if it is still there."""
        turns = self._users.get(user, deque())
        if turn in turns:
            turns.remove(turn)
            self.length -= 1
            if not turns:
                del self._users[user]


class IssueRates:
    """The rates of `limits` in proxy.yaml.

    An authenticated user has a bucket of their own and takes nothing from the address, which others share.
    A user who is only named has a part of the address's bucket.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._of_source = SharedRate(limits.issues_per_minute, clock)
        self._of_user = Rate(limits.issues_per_minute_of_user, clock)

    @asynccontextmanager
    async def one_name(self, asked: Request) -> AsyncIterator[None]:
        """Count one name, unless the body is refused or nothing could be written.

        Raises:
            TooFastError: too many names for the user or the address.
        """
        if asked.authenticated:
            with self._of_user.taking(asked.user):
                yield
        elif asked.user is None:
            async with self._of_source.taking(asked.source, None):
                yield
        else:
            with self._of_user.taking((asked.source, asked.user)):
                async with self._of_source.taking(asked.source, asked.user):
                    yield
