"""End sessions: those whose job is gone, and those that the user stops.

The route and the secrets are removed, and the record gets the reason.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from rps_core.diagnosis import rules as why
from rps_core.errors import (
    AnotherJobError,
    DetectionError,
    RpsError,
    SchedulerError,
    ServiceError,
)
from rps_core.jobs import Gone, Job, Outcome
from rps_core.log import get_logger
from rps_core.protocol import Cause, EndCause
from rps_core.proxy_client.client import client_of
from rps_core.sessions import recover as recovery
from rps_core.sessions.elsewhere import elsewhere, place
from rps_core.sessions.job import job_of, may_run
from rps_core.sessions.report_job import ENDS
from rps_core.sessions.routes import rules_of
from rps_core.sessions.session import SessionView
from rps_core.state.record import SessionRecord
from rps_core.state.store import Store

if TYPE_CHECKING:
    from rps_core.cluster import ClusterContext
    from rps_core.traits import LogCause

log = get_logger(__name__)

_PEACEFUL = frozenset({Outcome.COMPLETED, Outcome.CANCELLED, Outcome.TIMEOUT, Outcome.ENDED})
_BY_THE_SCHEDULER = {
    Outcome.TIMEOUT: "it reached its walltime limit",
    Outcome.OUT_OF_MEMORY: "it ran out of memory",
    Outcome.NODE_FAILED: "its node failed",
    Outcome.PREEMPTED: "another job took its place",
}
STOPPED = "stopped with rps stop"


class Revocation(Enum):
    """What became of a request to close a session's route."""

    CLOSED = auto()
    # The service accepts it only from the job's node, whose agent asks too.
    LEFT_TO_THE_NODE = auto()
    FAILED = auto()


# The causes in an agent's last event if its job or its route was ended from outside.
_ASKED_TO_END = frozenset({EndCause.SIGNAL, EndCause.REVOKED, EndCause.REFUSED})
_FROM_THE_LOG: Mapping[str, str] = {
    Cause.NO_MODULE: "a module could not be loaded",
    Cause.NO_ENVIRONMENT: "its environment could not be activated",
    Cause.NO_PYTHON: "the node has no Python for the agent",
    Cause.FILES_UNSEEN: "the node does not see the session's files",
}


def settle(
    record: SessionRecord, gone: Gone, here: ClusterContext | None, store: Store
) -> SessionView:
    """Record a session's end and its reason, and close the route, if any is left.

    The reason is the scheduler's if it ended the job, else the agent's, else the other evidence.
    """
    files = store.files(record.name)
    events = files.events()
    last = next((e for e in reversed(events) if e.get("event") == "ended"), None)
    failed = gone.outcome not in _PEACEFUL
    reason = gone.evidence
    facts = why.Facts(
        events=events,
        log=files.last_lines(),
        script_began=files.script_began(),
        gone=gone,
        walltime=record.walltime,
        inside=record.inside,
        scheduler_log=log_causes(record, here),
    )
    cause = Cause.NEVER_SUBMITTED if record.job_id is None else why.cause_of_the_end(facts)
    if _was_asked_to_end(gone, last) and files.stop_note.exists():
        failed, reason, cause = False, STOPPED, Cause.STOPPED
    elif gone.outcome is Outcome.CANCELLED and (
        last is None or last.get("cause") == EndCause.SIGNAL
    ):
        # The agent knows only that it was asked to end.
        by = f" by {gone.by}" if gone.by else ""
        reason = f"it was cancelled{by} ({gone.evidence})"
    elif gone.outcome in _BY_THE_SCHEDULER:
        reason = f"{_BY_THE_SCHEDULER[gone.outcome]} ({gone.evidence})"
    elif cause == Cause.ALLOCATION_OVER:
        failed, reason = False, f"its allocation has ended ({gone.evidence})"
    elif last is not None:
        failed = failed or last.get("cause") in (EndCause.START_FAILED, EndCause.REFUSED)
        reason = str(last.get("reason") or reason)
    elif gone.outcome is Outcome.COMPLETED:
        failed, reason = True, f"{_in_silence(events)} ({gone.evidence})"
    if last is None and cause in _FROM_THE_LOG:
        failed, reason = True, f"{_FROM_THE_LOG[cause]} ({gone.evidence})"
    revoked = revoke(record, store, reason, here, ENDS[gone.outcome]) is Revocation.CLOSED
    reason += rules_of(record.endpoint).what_is_left(events, revoked=revoked)
    outcome = "failed" if failed else "ended"
    ended = store.end(record, now=time.time(), outcome=outcome, reason=reason, cause=cause)
    if here is not None:
        here.site.session_ended(ended)
    return SessionView.of_the_past(ended)


def log_causes(record: SessionRecord, here: ClusterContext | None) -> Sequence[LogCause]:
    """Return the log patterns of the session's scheduler, on any cluster's host."""
    if here is not None and here.site.cluster.name == record.cluster:
        return here.site.log_causes()
    from rps_core.hooks.manager import Plugins
    from rps_core.models import Cluster

    cluster = Cluster(name=record.cluster, site=record.site, scheduler=record.scheduler)
    try:
        return Plugins.load().site(cluster).log_causes()
    except DetectionError:  # its scheduler's plugin is not installed here
        return ()


def _was_asked_to_end(gone: Gone, last: dict[str, Any] | None) -> bool:
    """Return whether the job or the route was ended from outside.

    By which user is not known here: the agent may know, and a killed job leaves no event.
    """
    if gone.outcome in _BY_THE_SCHEDULER:
        return False
    if last is None:
        return gone.outcome in (Outcome.CANCELLED, Outcome.ENDED)
    return last.get("cause") in _ASKED_TO_END


def _in_silence(events: list[dict[str, Any]]) -> str:
    """Format the end of a job whose agent left no reason."""
    ready = any(event.get("event") == "ready" for event in events)
    when = "without a final event of its agent" if ready else "before the notebook was started"
    return f"the job ended {when}"


def stop(record: SessionRecord, here: ClusterContext, store: Store) -> SessionView:
    """End a session: its route at once, then its job.

    Raises:
        SchedulerError, ServiceError: the job could not be ended; the record stays, so that it can be
            tried again.
    """
    (record,), _ = recovery.adopt([record], here, store)
    if record.ended is not None:
        return SessionView.of_the_past(record)
    _note_the_stop(record, store)  # first: another command may read the session while its job ends
    revocation = revoke(record, store, STOPPED, here, EndCause.STOPPED)
    revoked = revocation is Revocation.CLOSED
    job = job_of(record, here, store)
    if job is None and record.submitting and not revoked:
        raise ServiceError(
            f"Could not stop {record.name}: the id of its job is unknown, and the service that could end it "
            "does not answer",
            "Try again later; the session's record is kept.",
            transient=True,
        )
    reason, cause = STOPPED, Cause.STOPPED
    if job is not None:
        try:
            if away := elsewhere(record, here):
                raise SchedulerError(
                    f"{record.name} is stopped in part: its route is closed, its job is on {place(record)}",
                    _how_to_stop(record),
                    transient=away.cause == Cause.SCHEDULER_AWAY,
                )
            end_job(record, job, here)
        except RpsError as error:
            # An agent whose route was closed ends by itself.
            if isinstance(error, AnotherJobError) and (revoked or not may_run(record, job)):
                reason, cause = f"{STOPPED}: {error.message}", Cause.ID_REUSED
            else:
                if not revoked:  # the session continues
                    store.files(record.name).stop_note.unlink(missing_ok=True)
                raise
    if revocation is Revocation.FAILED:
        events = store.files(record.name).events()
        reason += rules_of(record.endpoint).what_is_left(events, revoked=False)
    ended = store.end(record, now=time.time(), outcome="ended", reason=reason, cause=cause)
    here.site.session_ended(ended)
    return SessionView.of_the_past(ended)


def check_is_here(record: SessionRecord, here: ClusterContext) -> None:
    """Check that a session is of this cluster, before it is stopped with all others.

    Raises:
        SchedulerError: it is not, or the scheduler does not say so; nothing has been done to it.
    """
    if away := elsewhere(record, here):
        raise SchedulerError(
            f"{record.name} was not stopped: {away.reason}",
            _how_to_stop(record),
            transient=away.cause == Cause.SCHEDULER_AWAY,
        )


def _how_to_stop(record: SessionRecord) -> str:
    return (
        f"Run `rps stop {record.name}` there or, if it was started here with --cluster, "
        f"`rps stop {record.name} --cluster {record.cluster}`."
    )


def _note_the_stop(record: SessionRecord, store: Store) -> None:
    files = store.files(record.name)
    try:
        files.write(files.stop_note.name, f"{STOPPED}\n")
    except OSError as error:  # a full disk: another command then shows that another user ended it
        log.warning("stop not recorded", name=record.name, reason=error.strerror)


def end_job(record: SessionRecord, job: Job, here: ClusterContext) -> None:
    """End a session's job, or only its step in the user's existing allocation."""
    if record.inside:
        here.site.end_step(job, here.shell)
    else:
        here.site.cancel(job, here.shell)


def revoke(
    record: SessionRecord, store: Store, reason: str, here: ClusterContext | None, cause: str
) -> Revocation:
    """Close the route, for a `cause` that its page shows.

    If the service does not close it, the lease ends the route, or at a satellite the agent.
    """
    try:
        secrets = store.files(record.name).secrets()
        if secrets is not None:
            client = client_of(record, here)
            client.revoke(record.name, secrets.claim, reason, cause)
    except RpsError as error:
        if not isinstance(error, ServiceError) or error.code not in ("gone", "unknown-name"):
            rules = rules_of(record.endpoint)
            left = f"route left to its {rules.ended_by}"
            if getattr(error, "code", "") in rules.expected_refusals:
                log.info(left, name=record.name)
                return Revocation.LEFT_TO_THE_NODE
            log.warning(left, name=record.name, reason=error.message)
            return Revocation.FAILED
    return Revocation.CLOSED
