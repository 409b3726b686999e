"""Leases: how the service notices that a job died without a message.

Kept in memory, on the monotonic clock. That a lease lapsed is in the registry too, for the next start.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Leases:
    """The time until which each session has a route. Times are in seconds.

    Call `sweep` every `sweep_every` seconds. A longer pause (the machine slept, the process was frozen)
    extends all leases, since no agent could renew.
    """

    def __init__(
        self,
        length: float,
        sweep_every: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._length = length
        self._sweep_every = sweep_every
        self._clock = clock
        self._ends: dict[str, float] = {}
        self._swept = clock()

    def grant(self, name: str) -> None:
        """Give a session a lease of full length, in place of an earlier one."""
        self._ends[name] = self._clock() + self._length

    def drop(self, name: str) -> None:
        """Remove a session's lease, if it has one."""
        self._ends.pop(name, None)

    def sweep(self) -> list[str]:
        """Remove and return the sessions whose lease has run out."""
        now = self._clock()
        away = now - self._swept - self._sweep_every
        self._swept = now
        if away > self._sweep_every:
            for name in self._ends:
                self._ends[name] += away
        over = [name for name, end in self._ends.items() if end <= now]
        for name in over:
            del self._ends[name]
        return over
