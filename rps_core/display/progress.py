"""Format the progress of a followed session: lines for a terminal, else one line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from rps_core.display.wording import (
    age_of_estimate,
    estimate,
    reason_and_code,
    state_and_reason,
    state_text,
)
from rps_core.sessions.follow import STAGES, Progress
from rps_core.sessions.session import SessionView
from rps_core.text import clock_time, plain, roughly


def lines(progress: Progress, now: float) -> list[str]:
    """Format for a terminal: stages, reason, estimate, services without answer, times.

    Args:
        progress: the session's progress.
        now: the time in Unix seconds.
    """
    return [
        plain(line)
        for line in (_flow(progress), *_state(progress), _times(progress.session, now))
        if line
    ]


def one_line(progress: Progress) -> str:
    """Format as one line, without what changes with the clock alone."""
    session = progress.session
    silences = list(_silences(progress))
    state = "" if silences and session.state == "unknown" else state_and_reason(session)
    advice = (session.advice or "").removesuffix(".")
    return plain("; ".join(filter(None, (state, advice, *silences))))


def _flow(progress: Progress) -> str:
    if progress.session.over:
        return ""
    return " > ".join(f"[{stage}]" if stage == progress.stage else stage for stage in STAGES)


def _state(progress: Progress) -> Iterator[str]:
    session = progress.session
    silences = list(_silences(progress))
    reason = reason_and_code(session)
    if not (silences and session.state == "unknown"):
        word = f" ({session.cause})" if session.over and session.cause else ""
        state = state_text(session.state) + word
        yield f"{state}: {reason}" if reason else state
    if session.advice:
        yield session.advice
    expected = estimate(session)
    if expected:
        yield expected + age_of_estimate(session)
    yield from silences


def _silences(progress: Progress) -> Iterator[str]:
    session = progress.session
    for whose, since, words in (
        ("the scheduler", progress.scheduler_away_since, session.scheduler_away),
        ("the service", progress.service_away_since, session.service_away),
    ):
        if since is not None:
            clock = clock_time(datetime.fromtimestamp(since, UTC))
            yield f"{whose} has not answered since {clock}: {words}"


def _times(session: SessionView, now: float) -> str:
    if session.over:
        return ""
    times = [f"{roughly(now - session.record.created)} since the start"]
    if session.time_left is not None and session.state != "pending":
        times.append(f"{roughly(session.time_left)} left")
    return ", ".join(times)
