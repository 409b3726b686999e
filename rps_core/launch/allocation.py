"""The user's existing allocation (`rps start --here`).

A session in it has the allocation's job id. The allocation continues when the session ends, and its end ends
the session.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rps_core.cluster import ClusterContext
from rps_core.config.settings import Overrides
from rps_core.errors import SchedulerError, UsageError
from rps_core.jobs import Job, JobPhase, JobStatus, Known, Unknown
from rps_core.protocol import Cause
from rps_core.state.record import SessionRecord
from rps_core.values import dataclass

_A_SECOND = timedelta(seconds=1)
_A_YEAR = timedelta(days=365)  # for an allocation without a time limit


def _example(here: ClusterContext) -> str:
    command = here.site.job_traits().interactive_command
    return f" (`{command}`)" if command else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingAllocation:
    """The user's running job that this shell belongs to."""

    job_id: str
    time_left: timedelta


def refuse_job_options(given: Overrides) -> None:
    """Check that no option is for a new job, of which --here submits none.

    Raises:
        UsageError: an option is for a new job.
    """
    about_a_job = [given.flags.get(key, key) for key in given.options if key.startswith("job.")]
    assigned = (text.partition("=")[0].strip() for text in given.assignments)
    about_a_job += [f"--set {key}" for key in assigned if f"{key}.".startswith("job.")]
    if about_a_job:
        raise UsageError(
            f"--here uses the existing allocation: {min(about_a_job)} has no effect",
            "Leave that option out, or leave out --here to submit a new job.",
        )


def allocation(here: ClusterContext, records: Iterable[SessionRecord]) -> ExistingAllocation:
    """Return the allocation of this shell.

    Raises:
        UsageError: the shell is in no allocation, in one that is not running, or in a session.
        SchedulerError: the scheduler does not answer.
    """
    cluster = here.site.cluster
    job_id = here.site.current_job(os.environ)
    if job_id is None:
        raise UsageError(
            f"--here: this shell is not in an allocation of {cluster.name}",
            f"Run `rps start --here` in the shell of an allocation{_example(here)}, or leave out --here to "
            "submit a new job.",
        )
    for record in records:
        if (record.ended, record.job_id, record.inside) == (None, job_id, False):
            raise UsageError(
                f"--here: this shell is already in the job of your session {record.name}",
                f"`rps url {record.name}` prints its URL.",
            )
    job = Job(id=job_id, tag="", session_dir=Path("/nonexistent"), joined=datetime.now(UTC))
    status: JobStatus | None
    try:
        status = here.site.poll([job], here.shell).get(job_id)
    except SchedulerError as error:
        status = Unknown(reason=error.message, cause=Cause.SCHEDULER_AWAY)
    if isinstance(status, Unknown) and status.cause == Cause.SCHEDULER_AWAY:
        # A compute node may have no commands of the scheduler, or may not reach it.
        origin = here.site.job_origin(os.environ)
        if origin is not None and origin.runs_here:
            left = _A_YEAR if origin.time_left is None else max(origin.time_left, _A_SECOND)
            return ExistingAllocation(job_id=job_id, time_left=left)
    if status is None or isinstance(status, Unknown):
        why = status.reason if status else "the scheduler did not list it"
        raise SchedulerError(
            f"Could not query the allocation {job_id}: {why}", "Try again.", transient=True
        )
    if not isinstance(status, Known) or status.phase is not JobPhase.RUNNING:
        what = (
            f"is {status.phase}" if isinstance(status, Known) else f"has ended ({status.evidence})"
        )
        raise UsageError(
            f"--here: this shell's allocation {job_id} {what}",
            "Exit the shell and request another allocation.",
        )
    left = _A_YEAR if status.time_left is None else status.time_left
    return ExistingAllocation(job_id=job_id, time_left=left)
