"""A session's job, and what is concluded once the scheduler has given its id to another job."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rps_core.errors import PluginError
from rps_core.jobs import Gone, Job, JobStatus, Outcome, Unknown
from rps_core.protocol import Cause
from rps_core.state.session_dir import SessionFiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rps_core.cluster import ClusterContext
    from rps_core.state.record import SessionRecord
    from rps_core.state.store import Store

# Seconds after which a job whose agent has reported no start never started: NFS shows a file up to a minute
# late (nfs(5), acdirmax).
_NEVER_STARTED = 120.0
_ENDING = 3600.0  # seconds past the walltime limit: schedulers enforce it late, and clocks differ


def job_of(record: SessionRecord, here: ClusterContext, store: Store) -> Job | None:
    """Return the session's job for plugins; None before it is submitted."""
    try:
        name = here.site.job_name(record.name)
    except PluginError:  # neither plugin names its jobs: their tags are left
        name = ""
    return store.files(record.name).job(record, name)


def may_run(record: SessionRecord, job: Job) -> bool:
    """Return whether a job that its scheduler has lost may still run on its node.

    Its agent has reported a start and no end, and the walltime limit has not passed.
    """
    return _may_run(record, _last_events(job))


def _may_run(record: SessionRecord, events: Mapping[str, dict[str, Any]]) -> bool:
    started = events.get("started")
    if started is None:
        return time.time() - record.created < _NEVER_STARTED
    return "ended" not in events and time.time() <= started["time"] + record.walltime + _ENDING


def _last_events(job: Job) -> dict[str, dict[str, Any]]:
    """Return the last event of each kind that the agent wrote."""
    return {event["event"]: event for event in SessionFiles(job.session_dir).events()}


def concluded(record: SessionRecord, job: Job, status: JobStatus) -> JobStatus:
    """Return the status of a job, whose end its files show if another job has its id.

    A scheduler has one job of an id: it has lost the session's job, or had forgotten it before it gave the id
    away. The job may still run on its node, so that alone is no end.
    """
    if not (isinstance(status, Unknown) and status.cause == Cause.ID_REUSED):
        return status
    events = _last_events(job)
    if _may_run(record, events):
        return status
    if ended := SessionFiles(job.session_dir).end_by_its_agent(status.reason):
        return ended
    gone = Gone(outcome=Outcome.FAILED, evidence=status.reason, cause=Cause.ID_REUSED)
    if "started" in events:
        return replace(
            gone,
            outcome=Outcome.ENDED,
            evidence=f"{status.reason}, and its walltime limit has long passed",
        )
    return replace(gone, evidence=f"{status.reason}, and it had not started")
