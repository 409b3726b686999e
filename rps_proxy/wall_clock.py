"""The wall clock, for what is counted in hours and days: one that is put forward makes nothing old."""

from __future__ import annotations

import time
from collections.abc import Callable

from rps_core.log import get_logger

LEAST_JUMP = 10.0  # seconds; less is a clock that is being steered

_log = get_logger("rps.wall_clock")


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # counts while the machine sleeps


class WallClock:
    """Seconds since 1970, less what somebody put the clock forward since this was made: who counts from a
    moment before would else find an hour gone that was not. A clock that is put back makes things younger,
    which harms nothing."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = _since_boot,
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()
        self._ahead = 0.0

    def now(self) -> float:
        """To be asked every minute or so: between two calls each jump is seen."""
        wall = self._wall()
        offset = wall - self._steady()
        jump, self._offset = offset - self._offset, offset
        if abs(jump) > LEAST_JUMP:
            self._ahead = max(0.0, self._ahead + jump)
            _log.warning("clock-jumped", seconds=round(jump))
        return wall - self._ahead
