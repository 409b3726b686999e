"""Leases: how the service notices that a job died without a word.

Kept in memory, on a clock that nobody sets. What must outlive the service, that a lease has run
out, is in the registry.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Leases:
    """The time until which each session's route may answer. Times are in seconds.

    `sweep` is to be called every `sweep_every` seconds; where it finds that it was not (the machine
    slept, the process was frozen), nobody could renew meanwhile, and nobody loses that time.
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
        """Give a session a lease of full length, whatever was left of an earlier one."""
        self._ends[name] = self._clock() + self._length

    def drop(self, name: str) -> None:
        """Forget a session's lease, if it has one."""
        self._ends.pop(name, None)

    def sweep(self) -> list[str]:
        """Take out, and return, the sessions whose lease has run out."""
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
