"""Put sessions' states together from records, the service and one poll."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rps_core.diagnosis import rules as why
from rps_core.errors import RpsError, SchedulerError, ServiceError
from rps_core.jobs import Gone, Job, JobPhase, JobStatus, Known, Outcome, Unknown
from rps_core.log import get_logger
from rps_core.protocol import Cause
from rps_core.proxy_client.client import client_of
from rps_core.proxy_client.models import ServiceState
from rps_core.sessions import identity as identities
from rps_core.sessions import recover as recovery
from rps_core.sessions.elsewhere import elsewhere
from rps_core.sessions.end import settle
from rps_core.sessions.job import concluded, job_of
from rps_core.sessions.routes import rules_of
from rps_core.sessions.session import SessionView
from rps_core.sessions.warnings import building, unreachable, warning
from rps_core.state.record import Endpoint, Secrets, SessionRecord
from rps_core.state.store import Store
from rps_core.state.visit import visit_url
from rps_core.support import with_contact

if TYPE_CHECKING:
    from rps_core.cluster import ClusterContext

log = get_logger(__name__)


def survey(
    records: Iterable[SessionRecord], here: ClusterContext | None, store: Store
) -> list[SessionView]:
    """Return each session's state, from one poll; settle those that have ended.

    `here` may be None if every record is of an ended session.
    """
    found, judged = recovery.adopt(records, here, store)
    asked = datetime.now(UTC)
    open_ones = [record for record in found if record.ended is None and record.name not in judged]
    statuses = {**judged, **poll(open_ones, here, store)}
    silent: dict[Endpoint, str] = {}
    return [inspect(r, statuses.get(r.name), here, store, asked, silent) for r in found]


def poll(
    records: Iterable[SessionRecord], here: ClusterContext | None, store: Store
) -> Mapping[str, JobStatus]:
    """Return the status of each job by its session's name, from one poll.

    Sessions whose jobs have the same id are polled one after the other. A job that the scheduler shows is on
    its cluster; for any other the scheduler is asked which cluster it is, before anything is concluded.
    """
    statuses: dict[str, JobStatus] = {}
    jobs: list[tuple[SessionRecord, Job]] = []
    found = list(records)
    has_identities = any(record.cluster_identity for record in found)
    known = identities.remembered(here) if here and has_identities else None
    for record in found:
        if record.job_id is None:
            statuses[record.name] = recovery.without_a_job(record)
        elif away := elsewhere(record, here, remembered=known):
            statuses[record.name] = away
        elif here is not None and (job := job_of(record, here, store)):
            jobs.append((record, job))
    while jobs and here is not None:
        asked = {job.id: (record, job) for record, job in reversed(jobs)}
        jobs = [(record, job) for record, job in jobs if asked[job.id][0] is not record]
        answers = _answers([job for _, job in asked.values()], here)
        silent = Unknown(reason="the scheduler did not list it")
        for record, job in asked.values():
            status = answers.get(job.id, silent)
            if not _stands_alone(status):
                status = elsewhere(record, here) or status
            statuses[record.name] = concluded(record, job, status)
    return statuses


def _stands_alone(status: JobStatus) -> bool:
    """Return whether a status needs no knowledge of the cluster: it shows the job, or is no answer."""
    return isinstance(status, Known) or (
        isinstance(status, Unknown) and status.cause == Cause.SCHEDULER_AWAY
    )


def _answers(jobs: list[Job], here: ClusterContext) -> Mapping[str, JobStatus]:
    try:
        return here.site.poll(jobs, here.shell)
    except SchedulerError as error:
        away = Unknown(reason=error.message, cause=Cause.SCHEDULER_AWAY)
        return {job.id: away for job in jobs}


def inspect(
    record: SessionRecord,
    status: JobStatus | None,
    here: ClusterContext | None,
    store: Store,
    asked: datetime | None = None,
    silent: dict[Endpoint, str] | None = None,
) -> SessionView:
    """Return a session's state by its job and the service; settle it if it has ended.

    Args:
        record: the session.
        status: its job's status; None: the scheduler was not asked.
        here: the cluster.
        store: the user's sessions.
        asked: when the scheduler gave the status.
        silent: the errors of services that did not answer; these are not asked again, for each may take
            until its timeout.
    """
    if record.ended is not None:
        return SessionView.of_the_past(record)
    status = status or Unknown(reason="not asked")
    files = store.files(record.name)
    try:
        secrets = files.secrets()
    except RpsError as error:  # concerns this session only, and `rps stop` still ends it
        return SessionView(record=record, state="unknown", reason=error.message, url=None)
    service, silence = _ask_service(record, secrets, here, {} if silent is None else silent)
    events = files.events()
    status = _ended_inside(record, status, events)
    if isinstance(status, Gone):
        return settle(record, status, here, store)
    rules = rules_of(record.endpoint)
    state, reason = rules.judge(status, service, events, agent_alive=secrets is not None)
    if state == "ready":
        reason = warning(events)
    if state == "starting":
        reason = unreachable(events) or building(events) or reason
    if state == "ending" and not reason:
        reason = next(
            (e.get("reason") for e in reversed(events) if e.get("event") == "ended"), None
        )
    started = next((e for e in events if e.get("event") == "started"), None)
    known = status if isinstance(status, Known) else None
    # The queue's details do not matter once the job has started.
    queued = known if known and state == "pending" else None
    estimate = queued.estimated_start if queued else None
    left: float | None = None
    if known and known.time_left is not None:
        age = (datetime.now(UTC) - asked).total_seconds() if asked else 0.0
        left = known.time_left.total_seconds() - (age if known.phase is JobPhase.RUNNING else 0.0)
    elif started is not None:
        left = started["time"] + record.walltime - time.time()
    # In an allocation of salloc, Slurm reports the host of its shell as the first node.
    node = (known.node if known and not record.inside else None) or (started or {}).get("node")
    return SessionView(
        record=record,
        state=state,
        reason=reason,
        cause=why.cause_of_the_state(state, status, why.Facts(events=events), rules.lapsed),
        advice=with_contact(queued.advice) if queued and queued.advice else None,
        scheduler_away=_silence(status),
        service_away=silence,
        url=visit_url(record, files, secrets),
        node=node,
        node_name=_name_in_the_cluster(node, here),
        time_left=None if left is None else max(0, int(left)),
        raw_reason=known.raw_reason if known and reason == known.reason else None,
        estimated_start=estimate,
        estimated_at=asked if estimate else None,
    )


def _ask_service(
    record: SessionRecord,
    secrets: Secrets | None,
    here: ClusterContext | None,
    silent: dict[Endpoint, str],
) -> tuple[ServiceState | None, str | None]:
    """Return the service's answer, or its error; neither if the secrets are gone."""
    if secrets is None:
        return None, None
    if record.endpoint in silent:
        return None, silent[record.endpoint]
    try:
        return client_of(record, here).state(record.name, secrets.claim), None
    except ServiceError as error:
        if error.transient:
            silent[record.endpoint] = error.message
        return None, error.message


def _silence(status: JobStatus) -> str | None:
    away = isinstance(status, Unknown) and status.cause == Cause.SCHEDULER_AWAY
    return status.reason if away and isinstance(status, Unknown) else None


def _name_in_the_cluster(node: str | None, here: ClusterContext | None) -> str | None:
    """Return the node's name in `node_domain`.

    A scheduler may give the node's short name or the full one: the first label is the same.
    """
    domain = here.loaded.settings.node_domain if here else None
    return f"{node.partition('.')[0]}.{domain}" if node and domain else None


def _ended_inside(
    record: SessionRecord, status: JobStatus, events: list[dict[str, Any]]
) -> JobStatus:
    """Return a session's status in an existing allocation, which may outlive it.

    One that is ending is left as it is: its end gives the reason.
    """
    ended = next((event for event in events if event.get("event") == "ended"), None)
    if not record.inside or ended is None or isinstance(status, Gone):
        return status
    if not isinstance(status, Known):
        return Gone(outcome=Outcome.ENDED, evidence="its agent ended")
    if status.phase is JobPhase.COMPLETING:
        return status
    return Gone(outcome=Outcome.ENDED, evidence=f"its agent ended; {record.job_id} continues")
