"""Explain a session's state by the scheduler, the service and its files."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rps_core.diagnosis import causes
from rps_core.diagnosis import rules as why
from rps_core.errors import RpsError
from rps_core.jobs import Evidence
from rps_core.protocol import Cause
from rps_core.sessions import identity as identities
from rps_core.sessions import status as sessions
from rps_core.sessions.elsewhere import elsewhere, place
from rps_core.sessions.end import log_causes
from rps_core.sessions.job import job_of
from rps_core.sessions.session import SessionView
from rps_core.state import lookup
from rps_core.state.record import SessionRecord
from rps_core.state.store import Store
from rps_core.support import with_contact
from rps_core.values import dataclass

if TYPE_CHECKING:
    from rps_core.cluster import ClusterContext
    from rps_core.sessions.application import Application


@dataclass(frozen=True, slots=True)
class Explanation:
    """A session with its cause (a word of `causes`) and the evidence for it."""

    session: SessionView
    cause: str
    evidence: tuple[Evidence, ...]

    @property
    def advice(self) -> str:
        """What to do; empty if there is nothing to do."""
        session = self.session
        name = session.record.name
        return session.advice or with_contact(
            causes.advice_for(self.cause, name, over=session.over)
        )

    @property
    def sentence(self) -> str:
        """The cause in a whole sentence; of `waiting` with the scheduler's reason."""
        sentence = causes.meaning_of(self.cause, over=self.session.over).sentence
        if self.cause != Cause.WAITING:
            return sentence
        reason = self.session.raw_reason or self.session.reason
        said = f"gives a reason that rps does not know: {reason}" if reason else "gives no reason"
        return f"{sentence} The scheduler {said}."

    def as_json(self) -> dict[str, Any]:
        """Return the documented fields (docs/commands.md)."""
        return {
            "name": self.session.record.name,
            "state": self.session.state,
            "cause": self.cause,
            "reason": self.session.reason,
            "sentence": self.sentence,
            "evidence": [asdict(one) for one in self.evidence],
            "advice": self.advice or None,
        }


def explain(app: Application, name: str | None) -> Explanation:
    """Explain the session of this name, or the latest.

    For an ended session the scheduler only adds details: if it cannot be asked, the answer lacks them.

    Raises:
        NotFoundError: there is no such session.
        DetectionError, UsageError: the session is living, and its cluster cannot be determined.
    """
    store = app.store
    record = lookup.find_last(store, name)
    here, silence = _here(app, record)
    session = sessions.survey([record], here, store)[0]
    record = session.record
    files = store.files(record.name)
    testimony: tuple[Evidence, ...] = () if here else (silence,)
    if here and not session.scheduler_away:  # a scheduler that did not answer is not asked again
        testimony = tuple(_testimony(record, here, store))
    facts = why.Facts(
        events=files.events(),
        log=files.last_lines(),
        script_began=files.script_began(),
        walltime=record.walltime,
        inside=record.inside,
        testimony=testimony,
        scheduler_log=log_causes(record, here),
    )
    cause = session.cause or (why.cause_of_the_end(facts) if session.over else Cause.UNKNOWN)
    return Explanation(session, cause, (*_asked(session), *why.evidence(cause, facts)))


def _here(app: Application, record: SessionRecord) -> tuple[ClusterContext | None, Evidence]:
    """Return the cluster, or None and why for an ended session of another."""
    nothing = Evidence(source="rps", line=f"its job was on {place(record)}: ask there for more")
    try:
        here = app.here
    except RpsError as error:
        if record.ended is None:
            raise
        return None, Evidence(source="rps", line=f"the scheduler was not asked: {error.message}")
    return (None if record.ended and elsewhere(record, here) else here), nothing


def _testimony(record: SessionRecord, here: ClusterContext, store: Store) -> list[Evidence]:
    if elsewhere(record, here, remembered=identities.remembered(here)):
        return []
    job = job_of(record, here, store)
    if job is None:
        return []
    try:
        return list(here.site.job_details(job, here.shell))
    except RpsError as error:
        return [Evidence(source=record.scheduler, line=error.message)]


def _asked(session: SessionView) -> list[Evidence]:
    """Return the errors of the service and the scheduler."""
    away = (("service", session.service_away), (session.record.scheduler, session.scheduler_away))
    return [Evidence(source=source, line=line) for source, line in away if line]
