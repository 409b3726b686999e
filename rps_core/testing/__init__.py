"""Contract tests: what every site and every scheduler must hold, for whoever writes one.

    # test_expanse.py, run by pytest
    from rps_core.testing import SiteContract

    class TestExpanse(SiteContract):
        cluster = "expanse"
        login_hosts = ("login01", "login02")
        other_hosts = ("login", "login01b", "exp-1-01")

A contract is a class to inherit from. It holds class attributes that say what is to be tested, and
tests that use them; a contract that needs more than its attributes can say has methods to override.
The plugin is found as rps finds it, by its entry point, so it must be installed (`pip install -e .`).

`RecordedShell` stands in for the scheduler: it replays what a real one was seen to answer, and fails
on a command that it does not know. pytest is needed where contracts run, and not imported here; put
`pytest.register_assert_rewrite("rps_core.testing")` into your conftest.py to see why one fails.
"""

from rps_core.testing.hostile import HOSTILE
from rps_core.testing.recorded import (
    MISSING,
    TIMEOUT,
    Answer,
    RecordedShell,
    Replies,
    Reply,
    every_command,
)
from rps_core.testing.scheduler import SchedulerContract
from rps_core.testing.site import SiteContract

__all__ = [
    "HOSTILE",
    "MISSING",
    "TIMEOUT",
    "Answer",
    "RecordedShell",
    "Replies",
    "Reply",
    "SchedulerContract",
    "SiteContract",
    "every_command",
]
