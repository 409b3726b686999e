"""What one may choose from on a Slurm: partitions, and accounts to charge."""

from __future__ import annotations

from collections.abc import Sequence

from rps_core.plugin import SchedulerError, Shell, hookimpl, login_name
from rps_core.schedulers import slurm_refusals as refusals
from rps_core.schedulers.slurm_cluster_name import slurm_cluster_name

PARTITIONS = ("sinfo", "--noheader", "--format=%P")
# Seconds. Somebody may wait for the answer, and can do without.
_QUEUE_TIME = 20.0
_ACCOUNTING_TIME = 15.0


def associations() -> list[str]:
    """A line for each account of the user, on each cluster that the database serves."""
    question = ["show", "associations", f"user={login_name()}", "format=Cluster,Account"]
    return ["sacctmgr", "--noheader", "--parsable2", *question]


@hookimpl(trylast=True)
def rps_partitions(shell: Shell) -> Sequence[str]:
    """Those that sinfo shows this user; it marks the default with a star."""
    words = [line.strip() for line in _lines(PARTITIONS, _QUEUE_TIME, shell)]
    names = [word for word in words if word.strip("*") and " " not in word]  # else a site's banner
    names.sort(key=lambda name: not name.endswith("*"))
    return list(dict.fromkeys(name.rstrip("*") for name in names))


@hookimpl(trylast=True)
def rps_allocations(shell: Shell) -> Sequence[str]:
    """From the accounting database, which may serve several clusters."""
    rows = [line.strip().split("|") for line in _lines(associations(), _ACCOUNTING_TIME, shell)]
    found = [(row[0], row[1]) for row in rows if len(row) == 2 and row[1]]
    if len({cluster for cluster, _ in found}) > 1:
        here = slurm_cluster_name(shell)
        found = [(cluster, account) for cluster, account in found if here in (None, cluster)]
    return list(dict.fromkeys(account for _, account in found))


def _lines(command: Sequence[str], timeout: float, shell: Shell) -> list[str]:
    done = shell(*command, timeout=timeout)
    if done.code != 0 or (not done.stdout and done.stderr):
        told = refusals.telling(done.stderr, done.stdout)
        raise SchedulerError(f"{command[0]} failed: {told}", transient=True)
    return done.stdout.splitlines()
