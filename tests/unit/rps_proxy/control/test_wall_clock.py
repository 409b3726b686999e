"""A wall clock that is put forward or back."""

from __future__ import annotations

from rps_proxy.control.wall_clock import WallClock

HOUR = 3600.0


def test_what_is_put_forward_does_not_count() -> None:
    wall, steady = 1_000_000.0, 50.0
    clock = WallClock(lambda: wall, lambda: steady)
    wall, steady = wall + 60, steady + 60
    assert clock.now() == 1_000_060
    wall, steady = wall + 60 + HOUR, steady + 60
    assert clock.now() == 1_000_120
    wall, steady = wall + 60 - HOUR, steady + 60  # the jump was undone
    assert clock.now() == wall == 1_000_180
    wall, steady = wall + 60 - HOUR, steady + 60
    assert clock.now() == wall
    wall, steady = wall + 60.5, steady + 60  # steered
    assert clock.now() == wall
