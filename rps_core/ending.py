"""How a session ends: found to be over, or stopped. Its route goes, its secrets, and its record says why."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rps_core import recovery, why
from rps_core.client import client_of
from rps_core.errors import RpsError, SchedulerError, ServiceError
from rps_core.job_reports import ENDS
from rps_core.log import get_logger
from rps_core.models import Gone, Job, Outcome
from rps_core.record import Record
from rps_core.session import Session
from rps_core.shell import Shell
from rps_core.store import Store

if TYPE_CHECKING:
    from rps_core.cluster import Here

log = get_logger(__name__)

_PEACEFUL = frozenset({Outcome.COMPLETED, Outcome.CANCELLED, Outcome.TIMEOUT, Outcome.ENDED})
_BY_THE_SCHEDULER = {
    Outcome.TIMEOUT: "its walltime was over",
    Outcome.OUT_OF_MEMORY: "it ran out of memory",
    Outcome.NODE_FAILED: "its node failed",
    Outcome.PREEMPTED: "another job took its place",
}
STOPPED = "stopped with rps stop"
# What an agent says that was told to end by whoever has ended its job or its route.
_ASKED_TO_END = frozenset({"signal", "revoked", "refused"})
_FROM_THE_LOG = {
    "no-module": "a module could not be loaded",
    "no-environment": "its environment could not be activated",
    "no-python": "the node has no Python that could run the agent",
}


def settle(record: Record, gone: Gone, here: Here | None, store: Store) -> Session:
    """Note that a session is over and why: the scheduler's words where it ended the job, else the
    agent's own, else what evidence there is.

    The route is taken down, in case the job had no time to.
    """
    files = store.files(record.name)
    events = files.events()
    last = next((e for e in reversed(events) if e.get("event") == "ended"), None)
    failed = gone.outcome not in _PEACEFUL
    reason = gone.evidence
    facts = why.Facts(
        events=events,
        log=files.last_lines(),
        gone=gone,
        walltime=record.walltime,
        inside=record.inside,
    )
    cause = "never-submitted" if record.job_id is None else why.cause_of_the_end(facts)
    if _was_asked_to_end(gone, last) and files.stop_note.exists():
        failed, reason, cause = False, STOPPED, "stopped"
    elif gone.outcome is Outcome.CANCELLED and (last is None or last.get("cause") == "signal"):
        # The agent knows only that it was asked to end.
        by = f" by {gone.by}" if gone.by else ""
        reason = f"it was cancelled{by} ({gone.evidence})"
    elif gone.outcome in _BY_THE_SCHEDULER:
        reason = f"{_BY_THE_SCHEDULER[gone.outcome]} ({gone.evidence})"
    elif cause == "allocation-over":
        failed, reason = False, f"the allocation that it ran in has ended ({gone.evidence})"
    elif last is not None:
        failed = failed or last.get("cause") in ("start-failed", "refused")
        reason = str(last.get("reason") or reason)
    elif gone.outcome is Outcome.COMPLETED:
        failed, reason = True, f"{_in_silence(events)} ({gone.evidence})"
    if last is None and cause in _FROM_THE_LOG:
        failed, reason = True, f"{_FROM_THE_LOG[cause]} ({gone.evidence})"
    revoked = revoke(record, store, reason, here, ENDS[gone.outcome][0])
    if record.endpoint.protocol == "satellite":
        from rps_core import satellite

        reason += satellite.what_is_left(events, revoked=revoked)
    outcome = "failed" if failed else "ended"
    ended = store.end(record, now=time.time(), outcome=outcome, reason=reason, cause=cause)
    if here is not None:
        here.site.session_ended(ended)
    return Session.of_the_past(ended)


def _was_asked_to_end(gone: Gone, last: dict[str, Any] | None) -> bool:
    """By whom is another question: the agent may know, and a job that was killed has no word of it."""
    if gone.outcome in _BY_THE_SCHEDULER:
        return False
    if last is None:
        return gone.outcome in (Outcome.CANCELLED, Outcome.ENDED)
    return last.get("cause") in _ASKED_TO_END


def _in_silence(events: list[dict[str, Any]]) -> str:
    """How a job has ended whose agent did not say why."""
    ready = any(event.get("event") == "ready" for event in events)
    when = "without a word of its agent" if ready else "before the notebook was started"
    return f"the job ended {when}"


def stop(record: Record, here: Here, store: Store, shell: Shell) -> Session:
    """End a session: its route at once, then its job.

    Raises:
        SchedulerError, ServiceError: the job could not be ended; the record stays, so that it can be
            tried again.
    """
    (record,), _ = recovery.adopt([record], here, store, shell)
    if record.ended is not None:
        return Session.of_the_past(record)
    _note_the_stop(record, store)  # at first: others look at the session while its job ends
    revoked = revoke(record, store, STOPPED, here, "stopped")
    job = store.files(record.name).job(record)
    if job is None and record.submitting and not revoked:
        raise ServiceError(
            f"{record.name} may have a job, whose id is not known, and the service that could end it "
            "does not answer",
            "Try again when it does; the session's record is kept.",
            transient=True,
        )
    if job is not None:
        try:
            if record.cluster != here.site.cluster.name:
                raise SchedulerError(
                    f"{record.name}: its route is closed, but its job is on {record.cluster}",
                    f"Run `rps stop {record.name}` there; or here, if it was started here with --cluster, "
                    f"`rps stop {record.name} --cluster {record.cluster}`.",
                )
            end_job(record, job, here, shell)
        except SchedulerError:
            if not revoked:  # it goes on as if nobody had asked
                store.files(record.name).stop_note.unlink(missing_ok=True)
            raise
    ended = store.end(record, now=time.time(), outcome="ended", reason=STOPPED, cause="stopped")
    here.site.session_ended(ended)
    return Session.of_the_past(ended)


def _note_the_stop(record: Record, store: Store) -> None:
    files = store.files(record.name)
    try:
        files.write(files.stop_note.name, f"{STOPPED}\n")
    except OSError as error:  # a full disk: who looks meanwhile is told of another's doing
        log.warning("stop not noted", name=record.name, reason=error.strerror)


def end_job(record: Record, job: Job, here: Here, shell: Shell) -> None:
    """End a session's job; or its part of an allocation that the user holds, and not that."""
    if record.inside:
        here.site.end_step(job, shell)
    else:
        here.site.cancel(job, shell)


def revoke(record: Record, store: Store, reason: str, here: Here | None, cause: str) -> bool:
    """Take the route down, for a cause that its page may tell. False where the service did not do it: the
    lease does it then, or at the older service, which has none, the job's agent."""
    try:
        secrets = store.files(record.name).secrets()
        if secrets is not None:
            client = client_of(record, here)
            client.revoke(record.name, secrets.claim, reason, cause)
    except RpsError as error:
        if not isinstance(error, ServiceError) or error.code not in ("gone", "unknown-name"):
            satellite = record.endpoint.protocol == "satellite"
            left = "route left to its job" if satellite else "route left to its lease"
            if satellite and getattr(error, "code", "") == "wrong-address":  # as it should be
                log.info(left, name=record.name)
            else:
                log.warning(left, name=record.name, reason=error.message)
            return False
    return True
