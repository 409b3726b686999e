"""How the commands put things: states, reasons, times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from rps_core.quantities import format_walltime

if TYPE_CHECKING:
    from rps_core.sessions import Session

_SAYINGS = {
    "pending": "waiting in the queue",
    "starting": "the job runs, the notebook is starting",
    "ready": "ready",
    "suspended": "suspended by the scheduler",
    "lapsed": "the notebook does not answer",
    "ending": "ending",
    "unknown": "not known at the moment",
}


def state_in_words(session: Session) -> str:
    """The state, and the reason in full."""
    text = _SAYINGS.get(session.state, session.state)
    told = reason_in_full(session)
    return f"{text}: {told}" if told else text


def reason_in_full(session: Session) -> str:
    """The reason in plain words, the scheduler's own code behind it, and when it means to start the job;
    empty where there is nothing to say."""
    text = session.reason or ""
    if session.raw_reason and session.raw_reason != session.reason:
        text = f"{text} ({session.raw_reason})" if text else session.raw_reason
    if session.estimated_start is None:
        return text
    past = "" if session.estimated_start > datetime.now(UTC) else ", which has passed"
    estimate = f"estimated start {_clock(session.estimated_start)}{past}"
    return f"{text}; {estimate}" if text else estimate


def age_of_estimate(session: Session) -> str:
    """How old the estimate is, for where it stays on the screen: it moves with every job that ends early."""
    if session.estimated_start is None or session.estimated_at is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - session.estimated_at).total_seconds()))
    return f" (as of {seconds} s ago)" if seconds < 60 else f" (as of {seconds // 60} min ago)"


def duration(seconds: int) -> str:
    """As Slurm writes a time limit."""
    return format_walltime(timedelta(seconds=seconds))


def plain(text: str) -> str:
    """Without control characters: a reason may come from a scheduler, and from whoever filled it in."""
    return "".join(character if character.isprintable() else " " for character in text)


def _clock(moment: datetime) -> str:
    """A point in time as one says it here: the time of today, else with its date."""
    local = moment.astimezone()
    today = local.date() == datetime.now(UTC).astimezone().date()
    return f"{local:%H:%M}" if today else f"{local:%a %d %b %H:%M}"
