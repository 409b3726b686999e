"""What is known of sessions: records, the service and one poll of the scheduler, put together."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rps_core import recovery, why
from rps_core.client import ServiceState, client_of
from rps_core.errors import RpsError, SchedulerError, ServiceError
from rps_core.job_reports import ENDS
from rps_core.log import get_logger
from rps_core.models import Gone, Job, JobPhase, JobStatus, Known, Outcome, Unknown
from rps_core.shell import Shell
from rps_core.store import Endpoint, Record, Secrets, Store
from rps_core.warned import warning

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
_FROM_THE_LOG = {
    "no-module": "a module could not be loaded",
    "no-environment": "its environment could not be activated",
    "no-python": "the node has no Python that could run the agent",
}
PHASE_STATES = {
    JobPhase.PENDING: "pending",
    JobPhase.RUNNING: "starting",
    JobPhase.SUSPENDED: "suspended",
    JobPhase.COMPLETING: "ending",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session as it is shown.

    `state`: pending, starting, ready, suspended, lapsed (the notebook stopped renewing its route),
    ending, ended, failed or unknown. `url` holds the token, and is null once there is nothing to
    visit. `raw_reason` is the scheduler's own code for `reason`. `time_left` is in seconds.
    `node_name` is what other hosts of the cluster call the node, where the site says (`node_domain`).
    `estimated_start` is the scheduler's guess, which moves; `estimated_at` says when it gave it.
    `cause` is why it is so, in a word of `rps_core.causes`. `scheduler_away` and `service_away` are the
    words in which these did not answer.
    """

    record: Record
    state: str
    reason: str | None
    url: str | None
    node: str | None = None
    node_name: str | None = None
    time_left: int | None = None
    raw_reason: str | None = None
    estimated_start: datetime | None = None
    estimated_at: datetime | None = None
    cause: str | None = None
    scheduler_away: str | None = None
    service_away: str | None = None

    @property
    def over(self) -> bool:
        """Nothing more will come of it."""
        return self.state in ("ended", "failed")

    def as_json(self) -> dict[str, Any]:
        """The documented fields (docs/commands.md)."""
        return {
            "name": self.record.name,
            "url": self.url,
            "cluster": self.record.cluster,
            "scheduler": self.record.scheduler,
            "job_id": self.record.job_id,
            "state": self.state,
            "reason": self.reason,
            "cause": self.cause,
            "raw_reason": self.raw_reason,
            "estimated_start": _utc(self.estimated_start),
            "estimated_at": _utc(self.estimated_at),
            "node": self.node,
            "node_name": self.node_name,
            "created": _utc(datetime.fromtimestamp(self.record.created, UTC)),
            "time_left": self.time_left,
            "app": self.record.app,
            "directory": self.record.directory,
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
        return _over(record)
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
        return client_of(record, _timeout(here)).state(record.name, secrets.claim), None
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
    facts = why.Facts(events=events, log=files.last_lines(), gone=gone, walltime=record.walltime)
    cause = "never-submitted" if record.job_id is None else why.cause_of_the_end(facts)
    cancelled = gone.outcome is Outcome.CANCELLED
    if cancelled and (last is None or last.get("cause") == "signal"):
        # The agent knows only that it was asked to end.
        by = f" by {gone.by}" if gone.by else ""
        reason = f"it was cancelled{by} ({gone.evidence})"
    elif gone.outcome in _BY_THE_SCHEDULER:
        reason = f"{_BY_THE_SCHEDULER[gone.outcome]} ({gone.evidence})"
    elif last is not None:
        failed = failed or last.get("cause") in ("start-failed", "refused")
        reason = str(last.get("reason") or reason)
    elif gone.outcome is Outcome.COMPLETED:
        failed, reason = True, f"the job ended before the notebook was started ({gone.evidence})"
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
    return _over(ended)


def _over(record: Record) -> Session:
    return Session(
        record=record,
        state=record.outcome or "ended",
        reason=record.reason,
        cause=record.cause,
        url=None,
    )


def revoke(record: Record, store: Store, reason: str, here: Here | None, cause: str) -> bool:
    """Take the route down, for a cause that its page may tell. False where the service did not do it: the
    lease does it then, or at the older service, which has none, the job's agent."""
    try:
        secrets = store.files(record.name).secrets()
        if secrets is not None:
            client = client_of(record, _timeout(here))
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


def _name_in_the_cluster(node: str | None, here: Here | None) -> str | None:
    """A scheduler may call the node by its short name or its full one: the first part is the same."""
    domain = here.loaded.settings.node_domain if here else None
    return f"{node.partition('.')[0]}.{domain}" if node and domain else None


def _utc(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")


def _timeout(here: Here | None) -> float:
    return here.loaded.settings.proxy.timeout if here else 10.0


def stop(record: Record, here: Here, store: Store, shell: Shell) -> Session:
    """End a session: its route at once, then its job.

    Raises:
        SchedulerError, ServiceError: the job could not be ended; the record stays, so that it can be
            tried again.
    """
    (record,), _ = recovery.adopt([record], here, store, shell)
    if record.ended is not None:
        return inspect(record, None, here, store)
    revoked = revoke(record, store, "stopped with rps stop", here, "stopped")
    job = store.files(record.name).job(record)
    if job is None and record.submitting and not revoked:
        raise ServiceError(
            f"{record.name} may have a job, whose id is not known, and the service that could end it "
            "does not answer",
            "Try again when it does; the session's record is kept.",
            transient=True,
        )
    if job is not None:
        if record.cluster != here.site.cluster.name:
            raise SchedulerError(
                f"{record.name}: its route is closed, but its job is on {record.cluster}",
                f"Run `rps stop {record.name}` there; or here, if it was started here with --cluster, "
                f"`rps stop {record.name} --cluster {record.cluster}`.",
            )
        end_job(record, job, here, shell)
    gone = Gone(outcome=Outcome.CANCELLED, evidence="stopped with rps stop")
    ended = store.end(
        record, now=time.time(), outcome="ended", reason=gone.evidence, cause="stopped"
    )
    here.site.session_ended(ended)
    return _over(ended)


def end_job(record: Record, job: Job, here: Here, shell: Shell) -> None:
    """End a session's job; or its part of an allocation that the user holds, and not that."""
    if record.inside:
        here.site.end_step(job, shell)
    else:
        here.site.cancel(job, shell)


def _ended_inside(record: Record, status: JobStatus, events: list[dict[str, Any]]) -> JobStatus:
    """The status of a session in an allocation that the user holds, which need not end with it."""
    ended = next((event for event in events if event.get("event") == "ended"), None)
    if not record.inside or ended is None or isinstance(status, Gone):
        return status
    return Gone(outcome=Outcome.ENDED, evidence=f"its agent ended; {record.job_id} goes on")


def come_back(record: Record) -> str:
    """What to do after Ctrl-C, when the job goes on."""
    return (
        f"{record.name} goes on without this terminal. `rps status` shows it, `rps url` gives its "
        f"URL,\n`rps stop {record.name}` ends it."
    )


def latest(records: Iterable[Record]) -> dict[str, Record]:
    """The last session of each cluster whose job the scheduler took."""
    found: dict[str, Record] = {}
    for record in sorted(records, key=lambda record: record.created):
        if record.job_id is not None:
            found[record.cluster] = record
    return found


def prune(store: Store, keep_days: float) -> None:
    """Forget sessions that ended long ago, but for the last of each cluster: `rps start --last`."""
    limit = time.time() - keep_days * 86400
    records = list(store.records())
    kept = {record.name for record in latest(records).values()}
    for record in records:
        if record.name not in kept and record.ended is not None and record.ended < limit:
            store.remove(record.name)
