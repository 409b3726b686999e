"""Wait for conditions, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 120.0  # seconds; generous, since only a test that fails waits this long


def until(look: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Wait for the first true value of `look()`, and return it.

    Raises:
        AssertionError: timeout; the message names what was waited for.
    """
    began = time.monotonic()
    pause = 0.02
    while not (found := look()):
        waited = time.monotonic() - began
        if waited > seconds:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        # `look` may start a program, which costs the other tests CPU time: for minutes, it is enough to look
        # each second or two.
        time.sleep(max(pause, waited / 100))
        pause = min(pause * 1.2, 0.2)
    return found
