"""What is known of sessions: records, the service and one poll of the scheduler, put together."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rps_core import recovery, why
from rps_core.client import ServiceState, client_of
from rps_core.ending import settle
from rps_core.errors import RpsError, SchedulerError, ServiceError
from rps_core.log import get_logger
from rps_core.models import Gone, JobPhase, JobStatus, Known, Outcome, Unknown
from rps_core.record import Endpoint, Record, Secrets
from rps_core.session import Session
from rps_core.shell import Shell
from rps_core.store import Store
from rps_core.warned import warning

if TYPE_CHECKING:
    from rps_core.cluster import Here

log = get_logger(__name__)

PHASE_STATES = {
    JobPhase.PENDING: "pending",
    JobPhase.RUNNING: "starting",
    JobPhase.SUSPENDED: "suspended",
    JobPhase.COMPLETING: "ending",
}


def survey(
    records: Iterable[Record], here: Here | None, store: Store, shell: Shell
) -> list[Session]:
    """The present state of each record, from one poll for all; sessions found to be over are settled.

    `here` may be None where every record is of an ended session.
    """
    found, judged = recovery.adopt(records, here, store, shell)
    asked = datetime.now(UTC)
    open_ones = [record for record in found if record.ended is None and record.name not in judged]
    statuses = {**judged, **poll(open_ones, here, store, shell)}
    silent: dict[Endpoint, str] = {}
    return [inspect(r, statuses.get(r.name), here, store, asked, silent) for r in found]


def poll(
    records: Iterable[Record], here: Here | None, store: Store, shell: Shell
) -> Mapping[str, JobStatus]:
    """The status of each record's job by the session's name; one call of the scheduler."""
    statuses: dict[str, JobStatus] = {}
    jobs = {}
    for record in records:
        job = store.files(record.name).job(record)
        if job is None:
            statuses[record.name] = recovery.without_a_job(record)
        elif here is None or record.cluster != here.site.cluster.name:
            statuses[record.name] = Unknown(
                reason=f"its job is on {record.cluster}: ask there, or with --cluster {record.cluster}",
                cause="elsewhere",
            )
        else:
            jobs[record.name] = job
    if jobs and here is not None:
        try:
            answers = here.site.poll(list(jobs.values()), shell)
        except SchedulerError as error:
            away = Unknown(reason=error.message, cause="scheduler-away")
            answers = dict.fromkeys((job.id for job in jobs.values()), away)
        silent = Unknown(reason="the scheduler said nothing of it")
        statuses.update({name: answers.get(job.id, silent) for name, job in jobs.items()})
    return statuses


def inspect(
    record: Record,
    status: JobStatus | None,
    here: Here | None,
    store: Store,
    asked: datetime | None = None,
    silent: dict[Endpoint, str] | None = None,
) -> Session:
    """One session, from its job's status and what the service says; settled if it is over. `asked` is
    when the scheduler gave the status. A service that does not answer is noted in `silent`, and not asked
    again: each may take its time to say nothing."""
    if record.ended is not None:
        return Session.of_the_past(record)
    status = status or Unknown(reason="not asked")
    files = store.files(record.name)
    try:
        secrets = files.secrets()
    except RpsError as error:  # it harms this session only, and `rps stop` still ends it
        return Session(record=record, state="unknown", reason=error.message, url=None)
    service, silence = _ask_service(record, secrets, here, {} if silent is None else silent)
    events = files.events()
    status = _ended_inside(record, status, events)
    if isinstance(status, Gone):
        return settle(record, status, here, store)
    if record.endpoint.protocol == "satellite":
        from rps_core import satellite

        state, reason = satellite.judge(status, service, events, agent_alive=secrets is not None)
    else:
        state, reason = judge(status, service, agent_alive=secrets is not None)
    if state == "ready":
        reason = warning(events)
    if state == "ending" and not reason:
        reason = next(
            (e.get("reason") for e in reversed(events) if e.get("event") == "ended"), None
        )
    started = next((e for e in events if e.get("event") == "started"), None)
    known = status if isinstance(status, Known) else None
    # What the queue says is of no interest once the session has got past it.
    queued = known if known and state == "pending" else None
    estimate = queued.estimated_start if queued else None
    left: float | None = None
    if known and known.time_left is not None:
        age = (datetime.now(UTC) - asked).total_seconds() if asked else 0.0
        left = known.time_left.total_seconds() - (age if known.phase is JobPhase.RUNNING else 0.0)
    elif started is not None:
        left = started["time"] + record.walltime - time.time()
    # Of an allocation that salloc gave, Slurm calls the host of its shell the first node.
    node = (known.node if known and not record.inside else None) or (started or {}).get("node")
    return Session(
        record=record,
        state=state,
        reason=reason,
        cause=why.cause_of_the_state(state, status, why.Facts(events=events)),
        advice=queued.advice if queued else None,
        scheduler_away=_silence(status),
        service_away=silence,
        url=record.visit_url(secrets),
        node=node,
        node_name=_name_in_the_cluster(node, here),
        time_left=None if left is None else max(0, int(left)),
        raw_reason=known.raw_reason if known and reason == known.reason else None,
        estimated_start=estimate,
        estimated_at=asked if estimate else None,
    )


def _ask_service(
    record: Record, secrets: Secrets | None, here: Here | None, silent: dict[Endpoint, str]
) -> tuple[ServiceState | None, str | None]:
    """What the service says, or why it says nothing; neither where there is nothing to ask with."""
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
    away = isinstance(status, Unknown) and status.cause == "scheduler-away"
    return status.reason if away and isinstance(status, Unknown) else None


def judge(
    status: Known | Unknown, service: ServiceState | None, *, agent_alive: bool
) -> tuple[str, str | None]:
    """State and reason of a session whose job is not known to be gone. Unknown ends nothing."""
    if service is not None and service.live:
        return "ready", None
    if not agent_alive or (service is not None and service.phase == "gone"):
        return "ending", service.reason if service else None
    if isinstance(status, Unknown):
        return "unknown", status.reason
    if service is not None and service.phase == "ready" and status.phase is JobPhase.RUNNING:
        return "lapsed", "the notebook's agent stopped renewing its route"
    if service is None and status.phase is JobPhase.RUNNING:
        return "unknown", "the job runs, and the service does not answer"
    return PHASE_STATES[status.phase], status.reason


def _name_in_the_cluster(node: str | None, here: Here | None) -> str | None:
    """A scheduler may call the node by its short name or its full one: the first part is the same."""
    domain = here.loaded.settings.node_domain if here else None
    return f"{node.partition('.')[0]}.{domain}" if node and domain else None


def _ended_inside(record: Record, status: JobStatus, events: list[dict[str, Any]]) -> JobStatus:
    """The status of a session in an allocation that the user holds, which need not end with it. One that is
    ending tells soon why the session did."""
    ended = next((event for event in events if event.get("event") == "ended"), None)
    if not record.inside or ended is None or isinstance(status, Gone):
        return status
    if not isinstance(status, Known):
        return Gone(outcome=Outcome.ENDED, evidence="its agent ended")
    if status.phase is JobPhase.COMPLETING:
        return status
    return Gone(outcome=Outcome.ENDED, evidence=f"its agent ended; {record.job_id} goes on")
