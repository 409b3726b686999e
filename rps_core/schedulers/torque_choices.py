"""What one may choose from on a Torque or PBS: queues, and Gold's accounts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rps_core.plugin import SchedulerError, Shell, hookimpl, login_name
from rps_core.schedulers.torque_answers import complaint
from rps_core.schedulers.torque_directives import PLAIN
from rps_core.schedulers.torque_gold import gold_accounts

QUEUES = ("qstat", "-Q")
_TIMEOUT = 20.0  # seconds; somebody may wait for the answer, and can do without


@hookimpl(trylast=True)
def rps_partitions(shell: Shell) -> Sequence[str]:
    """The queues that take jobs. Slurm's wrapper of the name knows no -Q: then none."""
    done = shell(*QUEUES, timeout=_TIMEOUT)
    if done.code != 0:
        if "Unknown option" in done.stderr:
            return []
        told = complaint(done.stdout, done.stderr)
        raise SchedulerError(f"qstat failed: {told}", transient=True)
    return open_queues(done.stdout)


def open_queues(table: str) -> list[str]:
    """The names in the table of `qstat -Q` whose column `Ena` (enabled) says yes."""
    lines = table.splitlines()
    rule = next((i for i, line in enumerate(lines) if re.fullmatch(r"-+( +-+)+ *", line)), 0)
    if rule == 0 or "Ena" not in lines[rule - 1].split():
        return []
    column = lines[rule - 1].split().index("Ena")
    rows = [line.split() for line in lines[rule + 1 :]]
    return [row[0] for row in rows if len(row) > column and row[column] == "yes"]


@hookimpl(trylast=True)
def rps_allocations(shell: Shell) -> Sequence[str]:
    """From Gold, where there is one; else nobody here knows of accounts."""
    try:
        done = shell("gbalance", "-u", login_name())
    except SchedulerError:
        return []
    accounts = gold_accounts(done.stdout) if done.code == 0 else {}
    return [name for name in accounts if PLAIN.fullmatch(name)]
