"""Format states, reasons, estimates and errors for output."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from rps_core.display.colour import BOLD, RED, Colours
from rps_core.support import with_contact
from rps_core.text import clock_time, plain_lines, roughly

if TYPE_CHECKING:
    from rps_core.sessions.session import SessionView

_STATES = {
    "pending": "waiting in the queue",
    "starting": "the job is running, the notebook is starting",
    "ready": "ready",
    "suspended": "suspended by the scheduler",
    "lapsed": "the notebook does not answer",
    "ending": "ending",
    "unknown": "currently unknown",
}


def state_and_reason(session: SessionView) -> str:
    """Format the state with the reason in full."""
    reason = reason_in_full(session)
    return f"{state_text(session.state)}: {reason}" if reason else state_text(session.state)


def state_text(state: str) -> str:
    """Format a state as a phrase."""
    return _STATES.get(state, state)


def ready_line(session: SessionView) -> str:
    """Format that a session is ready: its name, its node and until when it runs, as far as they are known."""
    node = session.node_name or session.node
    where = f" on {node}" if node else ""
    until = ""
    if session.time_left is not None:
        end = datetime.now(UTC) + timedelta(seconds=session.time_left)
        until = f" until {clock_time(end)} ({roughly(session.time_left)} left)"
    return f"{session.record.called} is ready{where}{until}"


def reason_in_full(session: SessionView) -> str:
    """Format the reason, the scheduler's code and the estimated start; may be empty."""
    return "; ".join(filter(None, (reason_and_code(session), estimate(session))))


def reason_and_code(session: SessionView) -> str:
    """Format the reason, with the scheduler's code in brackets."""
    text = session.reason or ""
    if session.raw_reason and session.raw_reason != session.reason:
        text = f"{text} ({session.raw_reason})" if text else session.raw_reason
    return text


def estimate(session: SessionView) -> str:
    """Format the estimated start; empty without an estimate."""
    if session.estimated_start is None:
        return ""
    past = "" if session.estimated_start > datetime.now(UTC) else ", which has passed"
    return f"estimated start {clock_time(session.estimated_start)}{past}"


def age_of_estimate(session: SessionView) -> str:
    """Format the age of the estimate, which changes when other jobs end early."""
    if session.estimated_start is None or session.estimated_at is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - session.estimated_at).total_seconds()))
    return f" (as of {seconds} s ago)" if seconds < 60 else f" (as of {seconds // 60} min ago)"


def error_text(error: Exception, colours: Colours | None = None) -> str:
    """Format an error without control characters, which quoted output may contain."""
    name = "rps:" if colours is None else colours.paint("rps:", BOLD, RED)
    return f"{name} {plain_lines(with_contact(str(error)))}"
