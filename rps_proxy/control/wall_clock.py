"""A wall clock for hours and days that ignores jumps forward."""

from __future__ import annotations

import time
from collections.abc import Callable

from rps_core.log import get_logger

LEAST_JUMP = 10.0  # seconds; NTP slews smaller offsets

_log = get_logger("rps.wall_clock")


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # counts while the machine sleeps


class WallClock:
    """Seconds since 1970, less the jumps forward since this object was made.

    Else a clock that is set forward an hour would expire sessions that are an hour too young. A clock that is
    set back only lets them live longer.
    """

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
        """Return the time; call it about every minute, so that no two jumps add up."""
        wall = self._wall()
        offset = wall - self._steady()
        jump, self._offset = offset - self._offset, offset
        if abs(jump) > LEAST_JUMP:
            self._ahead = max(0.0, self._ahead + jump)
            _log.warning("clock-jumped", seconds=round(jump))
        return wall - self._ahead
