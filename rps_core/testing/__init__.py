"""Contract tests for the authors of sites and schedulers.

    # test_expanse.py, run by pytest
    from rps_core.testing import SiteContract

    class TestExpanse(SiteContract):
        cluster = "expanse"
        login_hosts = ("login01", "login02")
        other_hosts = ("login", "login01b", "exp-1-01")

A contract is a base class: its class attributes describe the plugin, its tests use them, and its methods can
be overridden. The plugin is loaded by its entry point, as by rps, so it must be installed
(`pip install -e .`). A mistake that rps would report in a command fails the test.

`RecordedShell` replaces the scheduler: it replays recorded output of a real one, and fails on an unknown
command. Contracts need pytest, which is not imported here. With
`pytest.register_assert_rewrite("rps_core.testing")` in conftest.py, a failed assertion shows its values.
"""

from rps_core.testing.hostile import HOSTILE
from rps_core.testing.recorded import (
    MISSING,
    TIMEOUT,
    Answer,
    RecordedShell,
    Replies,
    Reply,
    by_program,
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
    "by_program",
    "every_command",
]
