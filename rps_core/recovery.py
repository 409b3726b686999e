"""Sessions whose launcher was ended before it noted their job: the job is found again, or known not to
be there."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rps_core.errors import RpsError, SchedulerError
from rps_core.log import get_logger
from rps_core.models import Gone, JobStatus, Outcome, Submission, Unknown

if TYPE_CHECKING:
    from rps_core.cluster import Here
    from rps_core.record import Record
    from rps_core.shell import Shell
    from rps_core.store import Store

log = get_logger(__name__)

_LAUNCH_TIME = 300.0  # seconds after which a launcher that noted no job is not at it any more
# The same for what it had started: an sbatch that is orphaned tries for minutes to be heard.
_SUBMISSION_TIME = 900.0


def adopt(
    records: Iterable[Record], here: Here | None, store: Store, shell: Shell
) -> tuple[list[Record], dict[str, JobStatus]]:
    """The records, with the jobs of those whose launcher was killed before it could note them: as the job
    noted it itself, else as the scheduler finds it by the session's tag, in one call for all. Also what is
    to be thought, by name, of those that have none.
    """
    found = [_noted(record, store) for record in records]
    cluster = here.site.cluster.name if here else None
    lost = [
        record
        for record in found
        if record.submitting and record.job_id is None and record.cluster == cluster
    ]
    if not lost or here is None:
        return found, {}
    try:
        ids = here.site.find_jobs([_submission(record, store) for record in lost], shell)
    except SchedulerError as error:
        unknown = Unknown(
            reason=f"whether it was submitted is not known: {error.message}", cause="scheduler-away"
        )
        return found, {record.name: unknown for record in lost}
    if ids is None:  # a scheduler's plugin that has nothing to say on this
        return found, {}
    with_jobs = {
        record.name: _adopted(record, ids[record.tag], here, store)
        for record in lost
        if record.tag in ids
    }
    without = {record.name: _denied(record) for record in lost if record.tag not in ids}
    return [with_jobs.get(record.name, record) for record in found], without


def without_a_job(record: Record) -> JobStatus:
    """The status of a session of which no job is known, and whose scheduler was not asked for one."""
    if record.submitting:
        return Unknown(
            reason="its launcher was ended while it submitted the job; `rps stop` ends it"
        )
    if time.time() - record.created < _LAUNCH_TIME:
        return Unknown(reason="it is being submitted", cause="submitting")
    return Gone(
        outcome=Outcome.FAILED, evidence="its launcher was ended before it submitted the job"
    )


def _denied(record: Record) -> JobStatus:
    """The scheduler has no job of this tag: which means something once nobody can be submitting it."""
    if time.time() - record.created < _SUBMISSION_TIME:
        return Unknown(
            reason="it is being submitted: the scheduler does not have its job yet",
            cause="submitting",
        )
    return Gone(
        outcome=Outcome.FAILED,
        evidence="its launcher was ended while it submitted the job, and the scheduler has none of its tag",
    )


def _noted(record: Record, store: Store) -> Record:
    if record.job_id is not None or record.ended is not None:
        return record
    job_id = store.files(record.name).noted_job_id()
    return _saved(replace(record, job_id=job_id, submitting=False), store) if job_id else record


def _adopted(record: Record, job_id: str, here: Here, store: Store) -> Record:
    from rps_core.client import client_of

    log.info("job found by its tag", name=record.name, job_id=job_id)
    try:  # as its launcher would have done next: the service tells the waiting page of the job's state
        secrets = store.files(record.name).secrets()
        if secrets is not None:
            client_of(record, here).link(record.name, secrets.claim, job_id)
    except RpsError as error:  # it redeems its name all the same
        log.warning("job not linked", name=record.name, reason=error.message)
    return _saved(replace(record, job_id=job_id, submitting=False), store)


def _saved(record: Record, store: Store) -> Record:
    try:
        return store.save(record)
    except OSError as error:  # a full disk: it is found again the next time
        log.warning("job's id not noted", name=record.name, reason=error.strerror)
        return record


def _submission(record: Record, store: Store) -> Submission:
    return Submission(
        name=record.name,
        tag=record.tag,
        session_dir=store.files(record.name).directory,
        since=datetime.fromtimestamp(record.created, UTC),
    )
