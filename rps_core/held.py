"""The allocation that the user holds already, for `rps start --here`.

A session in it is no job of its own: its job's id is the allocation's, which goes on when the session ends,
and whose end is the session's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rps_core.cluster import Here
from rps_core.errors import SchedulerError, UsageError
from rps_core.models import Job, JobPhase, Known, Unknown
from rps_core.record import Record
from rps_core.shell import Shell

_A_YEAR = timedelta(days=365)  # for an allocation without an end


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAllocation:
    """A running job of the user's that this shell belongs to."""

    job_id: str
    time_left: timedelta


def refuse_job_options(options: Mapping[str, object]) -> None:
    """What is asked of the scheduler has been asked when the allocation was.

    Raises:
        UsageError: one of the options is about a new job.
    """
    about_a_job = sorted(key for key in options if key.startswith("job."))
    if about_a_job:
        raise UsageError(
            f"--here takes an allocation as it is, so `{about_a_job[0]}` cannot be chosen",
            "Leave that option out, or --here, for a job of its own.",
        )


def allocation(here: Here, records: Iterable[Record], shell: Shell) -> HeldAllocation:
    """The allocation of this shell.

    Raises:
        UsageError: the shell is in none, or in one that is not the user's running job, or in a session.
        SchedulerError: the scheduler cannot be asked.
    """
    cluster = here.site.cluster
    job_id = here.site.held_job(os.environ)
    if job_id is None:
        raise UsageError(
            f"This shell is in no allocation of {cluster.name}",
            "Get one first (salloc, srun --pty bash, qsub -I) and say `rps start --here` in its shell; "
            "without --here rps submits a job of its own.",
        )
    for record in records:
        if (record.ended, record.job_id, record.inside) == (None, job_id, False):
            raise UsageError(
                f"This shell is in the job of your session {record.name}",
                "Its notebook is there already: `rps url` prints where.",
            )
    job = Job(id=job_id, tag="", session_dir=Path("/nonexistent"))
    status = here.site.poll([job], shell).get(job_id)
    if status is None or isinstance(status, Unknown):
        why = status.reason if status else "the scheduler said nothing of it"
        raise SchedulerError(
            f"Whether the allocation {job_id} is yours and runs is not known: {why}", transient=True
        )
    if not isinstance(status, Known) or status.phase is not JobPhase.RUNNING:
        what = f"is {status.phase}" if isinstance(status, Known) else f"is over ({status.evidence})"
        raise UsageError(
            f"This shell says that it is in the allocation {job_id}, which {what}",
            "Leave the shell, and get another allocation.",
        )
    left = _A_YEAR if status.time_left is None else status.time_left
    return HeldAllocation(job_id=job_id, time_left=left)
