"""The queues, and the accounts of Gold, that a user can choose from."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rps_core.plugin import SchedulerError, Shell, has_answered, hookimpl, login_name
from rps_core.schedulers.pbs.answers import complaint
from rps_core.schedulers.pbs.directives import PLAIN
from rps_core.schedulers.pbs.gold import gold_accounts

QUEUES = ("qstat", "-Q")
_TIMEOUT = 20.0  # seconds; completion and `rps init` go on without the answer


@hookimpl(trylast=True)
def rps_partitions(shell: Shell) -> Sequence[str]:
    """Return the queues that take jobs; none from Slurm's wrapper, which has no -Q."""
    done = shell(*QUEUES, timeout=_TIMEOUT)
    if not has_answered(done):
        if "Unknown option" in done.stderr:
            return []
        message = complaint(done.stdout, done.stderr)
        raise SchedulerError(f"qstat failed: {message}", transient=True)
    return open_queues(done.stdout)


def open_queues(table: str) -> list[str]:
    """Return the enabled queues from the table of `qstat -Q` (column `Ena`)."""
    lines = table.splitlines()
    rule = next((i for i, line in enumerate(lines) if re.fullmatch(r"-+( +-+)+ *", line)), 0)
    if rule == 0 or "Ena" not in lines[rule - 1].split():
        return []
    column = lines[rule - 1].split().index("Ena")
    rows = [line.split() for line in lines[rule + 1 :]]
    return [row[0] for row in rows if len(row) > column and row[column] == "yes"]


@hookimpl(trylast=True)
def rps_allocations(shell: Shell) -> Sequence[str]:
    """Return the accounts in Gold; empty on clusters without Gold."""
    try:
        done = shell("gbalance", "-u", login_name())
    except SchedulerError:
        return []
    accounts = gold_accounts(done.stdout) if done.code == 0 else {}
    return [name for name in accounts if PLAIN.fullmatch(name)]
