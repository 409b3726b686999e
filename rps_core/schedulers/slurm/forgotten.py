"""Conclude the status of a job of which neither squeue nor accounting has the end.

Its absence is no evidence: slurmctld forgets a job some minutes after its end (slurm.conf(5), MinJobAge), and
a slurmctld that was reinstalled or lost its state forgets running jobs. So other evidence decides: the agent,
which records its end in the session's directory, or the clock, as no job runs much longer than its walltime
limit.
"""

from __future__ import annotations

import time
from pathlib import Path

from rps_core.plugin import (
    Gone,
    Job,
    JobStatus,
    Outcome,
    Unknown,
    session_ended,
    session_events,
    session_gave_up,
    session_walltime,
)

# Seconds past the walltime limit: a site may allow more (slurm.conf(5), OverTimeLimit), and clocks differ.
_ENDING = 3600.0
# Seconds after its last output until a job without the event `started` has none: NFS shows a file up to a
# minute late (nfs(5)), and a module may be slow.
_NEVER_STARTED = 600.0


def conclude(job: Job, opinion: JobStatus | None) -> JobStatus:
    """Return the status of a job that squeue does not list.

    Args:
        opinion: the status from accounting; None: accounting answers and does not list the job.
    """
    denial = "squeue no longer lists the job"
    if ended := session_ended(job.session_dir, denial):
        return ended
    events = reversed(session_events(job.session_dir))
    started = next((event for event in events if event.get("event") == "started"), None)
    if started is None:
        return _without_its_agent(job, denial, opinion)
    if time.time() > started["time"] + _walltime(job) + _ENDING:
        return Gone(
            outcome=Outcome.ENDED, evidence=f"{denial}, and its walltime limit has long passed"
        )
    return opinion or Unknown(
        reason="neither squeue nor sacct lists the job, and its agent reported no end"
    )


def _without_its_agent(job: Job, denial: str, opinion: JobStatus | None) -> JobStatus:
    """Return the status of a job whose agent has not written that it started."""
    line = session_gave_up(job.session_dir)
    if line is not None:
        return Gone(outcome=Outcome.FAILED, evidence=f"{denial}, and its log says: {line}")
    began = _age(job.session_dir / "job.log")  # slurmstepd creates it when the job starts
    if began is not None and began > _NEVER_STARTED:
        return Gone(
            outcome=Outcome.ENDED,
            evidence=f"{denial}, and its agent never started, as its files show",
        )
    submitted = _age(job.session_dir / "batch.sh")
    if began is None and submitted is not None and submitted > _walltime(job) + _ENDING:
        return Gone(
            outcome=Outcome.ENDED, evidence=f"{denial}, and it left no log: its files show no start"
        )
    return opinion or Unknown(
        reason="neither squeue nor sacct lists the job, and its files show no start"
    )


def _age(path: Path) -> float | None:
    """Return the seconds since a file was written; None: there is none."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return None


def _walltime(job: Job) -> float:
    """Return the walltime limit in seconds; infinity if it cannot be read."""
    found = session_walltime(job.session_dir)
    return float("inf") if found is None else found
