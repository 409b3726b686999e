"""Find the jobs of sessions whose launcher was killed before it recorded them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rps_core.errors import RpsError
from rps_core.jobs import Gone, JobStatus, Outcome, Submission, Unknown
from rps_core.log import get_logger
from rps_core.protocol import Cause
from rps_core.sessions.elsewhere import elsewhere

if TYPE_CHECKING:
    from rps_core.cluster import ClusterContext
    from rps_core.state.record import SessionRecord
    from rps_core.state.store import Store

log = get_logger(__name__)

_LAUNCH_TIME = 300.0  # seconds after which a launcher without a recorded job is taken for dead
# The same for its submission: an orphaned sbatch tries for minutes to reach the controller.
_SUBMISSION_TIME = 900.0


def adopt(
    records: Iterable[SessionRecord], here: ClusterContext | None, store: Store
) -> tuple[list[SessionRecord], dict[str, JobStatus]]:
    """Add missing job ids to records whose launcher was killed.

    The id comes from the job's own note, else from the scheduler, which finds jobs by the session's tag, in
    one call for all.

    Returns:
        The records, and by session name the status of those without a job.
    """
    found = [_noted(record, store) for record in records]
    lost = [
        record
        for record in found
        if record.submitting and record.job_id is None and not elsewhere(record, here)
    ]
    if not lost or here is None:
        return found, {}
    try:
        ids = here.site.find_jobs([_submission(record, store) for record in lost], here.shell)
    except RpsError as error:  # a plugin may raise any kind
        unknown = Unknown(
            reason=f"could not find out whether it was submitted: {error.message}",
            cause=Cause.SCHEDULER_AWAY,
        )
        return found, {record.name: unknown for record in lost}
    if ids is None:  # the scheduler's plugin has no such hook
        return found, {}
    with_jobs = {
        record.name: _adopted(record, ids[record.tag], here, store)
        for record in lost
        if record.tag in ids
    }
    without = {record.name: _denied(record) for record in lost if record.tag not in ids}
    return [with_jobs.get(record.name, record) for record in found], without


def without_a_job(record: SessionRecord) -> JobStatus:
    """Return the status of a session without a job id, without a poll."""
    if record.submitting:
        return Unknown(
            reason="its launcher was ended while it submitted the job; `rps stop` ends it"
        )
    if time.time() - record.created < _LAUNCH_TIME:
        return Unknown(reason="it is being submitted", cause=Cause.SUBMITTING)
    return Gone(
        outcome=Outcome.FAILED, evidence="its launcher was ended before it submitted the job"
    )


def _denied(record: SessionRecord) -> JobStatus:
    """Return the status if the scheduler has no job of this tag.

    Only once no submission can be under way is the job known not to exist.
    """
    if time.time() - record.created < _SUBMISSION_TIME:
        return Unknown(
            reason="it is being submitted: the scheduler does not have its job yet",
            cause=Cause.SUBMITTING,
        )
    return Gone(
        outcome=Outcome.FAILED,
        evidence="its launcher was ended while it submitted the job, and the scheduler has none of its tag",
    )


def _noted(record: SessionRecord, store: Store) -> SessionRecord:
    if record.job_id is not None or record.ended is not None:
        return record
    job_id = store.files(record.name).noted_job_id()
    return _saved(replace(record, job_id=job_id, submitting=False), store) if job_id else record


def _adopted(
    record: SessionRecord, job_id: str, here: ClusterContext, store: Store
) -> SessionRecord:
    from rps_core.proxy_client.client import client_of

    log.info("job found by its tag", name=record.name, job_id=job_id)
    try:  # the launcher's next step: the service then shows the job's state on the waiting page
        secrets = store.files(record.name).secrets()
        if secrets is not None:
            client_of(record, here).link(record.name, secrets.claim, job_id)
    except RpsError as error:  # the agent redeems its name without the link
        log.warning("job not linked", name=record.name, reason=error.message)
    return _saved(replace(record, job_id=job_id, submitting=False), store)


def _saved(record: SessionRecord, store: Store) -> SessionRecord:
    try:
        return store.save(record)
    except OSError as error:  # a full disk: the next command finds it again
        log.warning("job id not recorded", name=record.name, reason=error.strerror)
        return record


def _submission(record: SessionRecord, store: Store) -> Submission:
    return Submission(
        name=record.name,
        tag=record.tag,
        session_dir=store.files(record.name).directory,
        since=datetime.fromtimestamp(record.created, UTC),
    )
