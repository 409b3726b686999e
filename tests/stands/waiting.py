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
    deadline = time.monotonic() + seconds
    pause = 0.02
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)
        # `look` may start a program, which costs the other tests CPU time
        pause = min(pause * 1.2, 0.2)
    return found
