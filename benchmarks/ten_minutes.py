"""Follow a session for ten minutes on a simulated clock.

python ten_minutes.py NAME
"""

from __future__ import annotations

import io
import json
import os
import resource
import sys
from collections.abc import Callable

from rps_core import cluster
from rps_core.display import progress as view
from rps_core.display.live import LiveRegion
from rps_core.jobs import JobStatus
from rps_core.sessions import follow
from rps_core.sessions import status as sessions
from rps_core.sessions.follow import Poll, Progress
from rps_core.state import lookup
from rps_core.state.store import Store
from rps_core.system import paths

LONG = 600.0  # seconds


class Nowhere(io.StringIO):
    """A terminal without a reader."""

    def isatty(self) -> bool:
        """Return True: the output is followed as on a terminal."""
        return True

    def write(self, text: str) -> int:
        """Keep nothing."""
        return len(text)


class Hurried(Poll):
    """Waits for answers, and for nothing else: the clock is put forward."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.polls = 0

    def ask(self, question: Callable[[], JobStatus]) -> None:
        """Ask as the real one does, and wait for the answer."""
        self.polls += 1
        super().ask(question)
        super().wait(60.0)

    def wait(self, seconds: float) -> None:
        """Move the clock."""
        self.now += seconds


def main() -> None:
    """Follow a session for ten minutes of this clock."""
    os.environ.setdefault("TERM", "xterm")
    here = cluster.find(None)
    store = Store(paths.sessions_dir())
    record = lookup.find(store, sys.argv[1])
    area, hurried, looks = LiveRegion(Nowhere()), Hurried(), 0

    def show(sight: Progress) -> None:
        nonlocal looks
        looks += 1
        area.draw(view.lines(sight, record.created + hurried.now))

    sessions.survey([record], here, store)  # connections and imports: of the start
    begun = _cpu()
    follow.follow(
        record, here, store, show,
        until_over=True, timeout=LONG, clock=lambda: hurried.now, poll=hurried,
    )  # fmt: skip
    print(json.dumps({"cpu": _cpu() - begun, "polls": hurried.polls, "looks": looks}))


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
