"""`rps why`: who is asked about one session, and how the answer is told."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from rps_core import causes, sessions, shell, why
from rps_core.errors import RpsError
from rps_core.models import Evidence
from rps_core.record import Record
from rps_core.screen import Area
from rps_core.session import Session
from rps_core.store import Store
from rps_core.wording import plain, reason_in_full

if TYPE_CHECKING:
    from rps_core.cluster import Here

_SOURCE_WIDTH = 12


@dataclass(frozen=True, slots=True)
class Answer:
    """A session with its cause (a word of `causes`) and the lines that speak for it."""

    session: Session
    cause: str
    evidence: tuple[Evidence, ...]

    @property
    def advice(self) -> str:
        """What to do; empty where nothing is to be done."""
        session = self.session
        name = session.record.name
        return session.advice or causes.advice_for(self.cause, name, over=session.over)

    def as_json(self) -> dict[str, Any]:
        """The documented fields (docs/commands.md)."""
        meaning = causes.cause_of(self.cause, over=self.session.over)
        return {
            "name": self.session.record.name,
            "state": self.session.state,
            "cause": self.cause,
            "reason": self.session.reason,
            "sentence": meaning.sentence,
            "evidence": [asdict(one) for one in self.evidence],
            "advice": self.advice or None,
        }


def inquire(record: Record, find: Callable[[], Here], store: Store) -> Answer:
    """Ask the scheduler, the service and the session's files.

    Of a session that is over the scheduler has only more to tell: where it cannot be asked, the answer
    comes without.
    """
    here, silence = _here(record, find)
    session = sessions.survey([record], here, store, shell.run)[0]
    record = session.record
    files = store.files(record.name)
    testimony = tuple(_testimony(record, here, store)) if here else (silence,)
    facts = why.Facts(
        events=files.events(),
        log=files.last_lines(),
        walltime=record.walltime,
        inside=record.inside,
        testimony=testimony,
    )
    cause = session.cause or (why.cause_of_the_end(facts) if session.over else "unknown")
    return Answer(session, cause, (*_asked(session), *why.evidence(cause, facts)))


def _here(record: Record, find: Callable[[], Here]) -> tuple[Here | None, Evidence]:
    """Where we are; None for a session that is over where that is not its cluster, and why."""
    nothing = Evidence(source="rps", line=f"its job was on {record.cluster}: ask there for more")
    try:
        here = find()
    except RpsError as error:
        if record.ended is None:
            raise
        return None, Evidence(source="rps", line=f"the scheduler was not asked: {error.message}")
    return (None if record.ended and here.site.cluster.name != record.cluster else here), nothing


def _testimony(record: Record, here: Here, store: Store) -> list[Evidence]:
    job = store.files(record.name).job(record)
    if job is None or record.cluster != here.site.cluster.name:
        return []
    try:
        return list(here.site.testimony(job, shell.run))
    except RpsError as error:
        return [Evidence(source=record.scheduler, line=error.message)]


def _asked(session: Session) -> list[Evidence]:
    """What was learnt from asking, where it is not in the reason."""
    told = (("service", session.service_away), (session.record.scheduler, session.scheduler_away))
    return [Evidence(source=source, line=line) for source, line in told if line]


def print_answer(answer: Answer) -> None:
    """For people: what it is, what it means, the lines, what to do."""
    session = answer.session
    meaning = causes.cause_of(answer.cause, over=session.over)
    state = session.state if session.over else f"is {session.state}"
    word = "" if answer.cause == session.state else f": {answer.cause}"
    _say(f"{session.record.name} {state}{word}")
    reason = plain(reason_in_full(session))
    if reason:
        _say(f"({reason})")
    _say(f"\n{meaning.sentence}")
    if answer.evidence:
        click.echo()
    for one in answer.evidence:
        source = f"  {one.source.ljust(_SOURCE_WIDTH)}"
        _say(f"{source}{plain(one.line.expandtabs()).strip()}", " " * len(source))
    if answer.advice:
        _say(f"\nWhat to do: {plain(answer.advice)}")


def _say(text: str, indent: str = "") -> None:
    """A paragraph; on a terminal broken between words, later lines indented so."""
    width = Area(sys.stdout).columns
    if width is not None and len(indent) < width // 2:
        lead, text = ("\n", text[1:]) if text.startswith("\n") else ("", text)
        text = lead + textwrap.fill(
            text, width - 1, subsequent_indent=indent, break_on_hyphens=False
        )
    click.echo(text)
