"""How the commands put things: states, reasons, times."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from rps_core.quantities import format_walltime

if TYPE_CHECKING:
    from rps_core.session import Session

# But for ends of lines, tabs, and colours as ESC [ 31 m.
_CONTROL = re.compile(r"(\x1b\[[0-9;]{0,32}m)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
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
    told = reason_in_full(session)
    return f"{saying(session.state)}: {told}" if told else saying(session.state)


def saying(state: str) -> str:
    """The state, as one says it."""
    return _SAYINGS.get(state, state)


def reason_in_full(session: Session) -> str:
    """The reason in plain words, the scheduler's own code behind it, and when it means to start the job;
    empty where there is nothing to say."""
    return "; ".join(filter(None, (reason_and_code(session), estimate(session))))


def reason_and_code(session: Session) -> str:
    """The reason in plain words, and the scheduler's own code behind it."""
    text = session.reason or ""
    if session.raw_reason and session.raw_reason != session.reason:
        text = f"{text} ({session.raw_reason})" if text else session.raw_reason
    return text


def estimate(session: Session) -> str:
    """When the scheduler means to start the job; empty where it does not say."""
    if session.estimated_start is None:
        return ""
    past = "" if session.estimated_start > datetime.now(UTC) else ", which has passed"
    return f"estimated start {clock_time(session.estimated_start)}{past}"


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


def plain_lines(text: str) -> str:
    """The same of several lines."""
    return "\n".join(map(plain, text.split("\n")))


def error_told(error: Exception) -> str:
    """A failure, as the commands end with it. It may quote a scheduler, a service or a program, whose words
    are not to move a terminal's cursor."""
    return plain_lines(f"rps: {error}")


def did_you_mean(typed: str, known: Iterable[str], *, shortened: bool = False) -> str:
    """A question for a hint, with a blank behind it; empty where nothing is called nearly so. `shortened`:
    only the beginning of a name may have been typed."""
    import difflib

    names = {name[: len(typed) + 1] if shortened else name: name for name in known}
    near = difflib.get_close_matches(typed.lower(), names, n=1)
    return f"Did you mean `{names[near[0]]}`? " if near else ""


def for_a_terminal(text: str) -> str:
    """Any text, without what would do more to a terminal than print and colour it."""
    return _CONTROL.sub(lambda found: found[1] or " ", text)


def roughly(seconds: float) -> str:
    """A length of time as one says it: `40 s`, `12 min`, `3 h 05 min`, `2 days 3 h`."""
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 120:
        return f"{minutes} min"
    hours = minutes // 60
    if hours < 48:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{hours // 24} days {hours % 24} h"


def clock_time(moment: datetime) -> str:
    """A point in time as one says it here: the time of today, else with its date."""
    local = moment.astimezone()
    today = local.date() == datetime.now(UTC).astimezone().date()
    return f"{local:%H:%M}" if today else f"{local:%a %d %b %H:%M}"
