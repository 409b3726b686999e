"""Undo a submission of which it is not known whether the scheduler accepted it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rps_core.errors import RpsError
from rps_core.jobs import Unknown
from rps_core.protocol import Cause
from rps_core.sessions import recover
from rps_core.sessions.end import end_job
from rps_core.sessions.job import job_of
from rps_core.values import dataclass

if TYPE_CHECKING:
    from rps_core.cluster import ClusterContext
    from rps_core.state.record import SessionRecord
    from rps_core.state.store import Store


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """What became of the job of a failed submission.

    Args:
        text: its state, for the session's reason.
        advice: what to do about it.
        is_over: the scheduler has no such job, or has cancelled it.
    """

    text: str
    advice: str
    is_over: bool


def cancel_submitted(record: SessionRecord, here: ClusterContext, store: Store) -> SubmittedJob:
    """Find the job of a session by its tag, and cancel it.

    A job that is found is recorded first, so that `rps stop` can try again. No error is raised: that of the
    submission is the one to report.
    """
    (record,), judged = recover.adopt([record], here, store)
    advice = f"`rps list` shows the session, and `rps stop {record.name}` ends it."
    job = job_of(record, here, store)
    if job is None:
        status = judged.get(record.name)
        if status is None or (isinstance(status, Unknown) and status.cause != Cause.SUBMITTING):
            why = f": {status.reason}" if isinstance(status, Unknown) else ""
            return SubmittedJob(
                "it is unknown whether its job was submitted",
                f"Its job may have been submitted{why}. {advice}",
                is_over=False,
            )
        return SubmittedJob("not submitted", "No job was submitted.", is_over=True)
    try:
        end_job(record, job, here)
    except RpsError as error:
        return SubmittedJob(
            f"its job {job.id} could not be cancelled",
            f"Its job {job.id} could not be cancelled: {error.message}. {advice}",
            is_over=False,
        )
    return SubmittedJob(
        f"its job {job.id} was cancelled", f"Its job {job.id} was cancelled.", is_over=True
    )
