"""The partitions and accounts that a user can choose from."""

from __future__ import annotations

from collections.abc import Sequence

from rps_core.plugin import SchedulerError, Shell, has_answered, hookimpl, login_name
from rps_core.schedulers.slurm import refusals
from rps_core.schedulers.slurm.presence import rps_cluster_name

PARTITIONS = ("sinfo", "--noheader", "--format=%P")
# Seconds. Completion and `rps init` wait for the answer, and go on without it.
_QUEUE_TIME = 20.0
_ACCOUNTING_TIME = 15.0


def associations() -> list[str]:
    """Return the command for the user's accounts on each cluster of the database."""
    question = ["show", "associations", f"user={login_name()}", "format=Cluster,Account"]
    return ["sacctmgr", "--noheader", "--parsable2", *question]


@hookimpl(trylast=True)
def rps_partitions(shell: Shell) -> Sequence[str]:
    """Return the partitions that sinfo shows this user.

    It marks the default partition with a star.
    """
    words = [line.strip() for line in _lines(PARTITIONS, _QUEUE_TIME, shell)]
    # A line with blanks is of a site's banner.
    names = [word for word in words if word.strip("*") and " " not in word]
    names.sort(key=lambda name: not name.endswith("*"))
    return list(dict.fromkeys(name.rstrip("*") for name in names))


@hookimpl(trylast=True)
def rps_allocations(shell: Shell) -> Sequence[str]:
    """Return the user's accounts on this cluster.

    The accounting database may serve several clusters.
    """
    rows = [line.strip().split("|") for line in _lines(associations(), _ACCOUNTING_TIME, shell)]
    found = [(row[0], row[1]) for row in rows if len(row) == 2 and len(row[1].split()) == 1]
    if len({cluster for cluster, _ in found}) > 1:
        here = rps_cluster_name(shell)
        found = [(cluster, account) for cluster, account in found if here in (None, cluster)]
    return list(dict.fromkeys(account for _, account in found))


def _lines(command: Sequence[str], timeout: float, shell: Shell) -> list[str]:
    done = shell(*command, timeout=timeout)
    if not has_answered(done):
        message = refusals.message(done.stderr, done.stdout)
        raise SchedulerError(f"{command[0]} failed: {message}", transient=True)
    return [line for line in done.stdout.splitlines() if line.isprintable()]
