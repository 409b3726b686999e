"""What is shown of a session that is followed: lines for a terminal, one line elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from rps_core.follow import STAGES, Sight
from rps_core.session import Session
from rps_core.wording import (
    age_of_estimate,
    clock_time,
    estimate,
    plain,
    reason_and_code,
    roughly,
    saying,
    state_in_words,
)


def lines(sight: Sight, now: float) -> list[str]:
    """For a terminal: the place in the flow, why, until when, who is silent, and the time. `now` in Unix
    seconds."""
    return [
        plain(line) for line in (_flow(sight), *_told(sight), _times(sight.session, now)) if line
    ]


def one_line(sight: Sight) -> str:
    """For a log, or a terminal that cannot go up: the same, without what changes with the clock alone."""
    session = sight.session
    silences = list(_silences(sight))
    state = "" if silences and session.state == "unknown" else state_in_words(session)
    advice = (session.advice or "").removesuffix(".")
    return plain("; ".join(filter(None, (state, advice, *silences))))


def _flow(sight: Sight) -> str:
    if sight.session.over:
        return ""
    return " > ".join(f"[{stage}]" if stage == sight.stage else stage for stage in STAGES)


def _told(sight: Sight) -> Iterator[str]:
    session = sight.session
    silences = list(_silences(sight))
    told = reason_and_code(session)
    if not (silences and session.state == "unknown"):
        word = f" ({session.cause})" if session.over and session.cause else ""
        yield f"{saying(session.state)}{word}: {told}" if told else saying(session.state) + word
    if session.advice:
        yield session.advice
    expected = estimate(session)
    if expected:
        yield expected + age_of_estimate(session)
    yield from silences


def _silences(sight: Sight) -> Iterator[str]:
    session = sight.session
    for whose, since, words in (
        ("the scheduler", sight.scheduler_away_since, session.scheduler_away),
        ("the service", sight.service_away_since, session.service_away),
    ):
        if since is not None:
            clock = clock_time(datetime.fromtimestamp(since, UTC))
            yield f"{whose} has not answered since {clock}: {words}"


def _times(session: Session, now: float) -> str:
    if session.over:
        return ""
    times = [f"{roughly(now - session.record.created)} since the start"]
    if session.time_left is not None and session.state != "pending":
        times.append(f"{roughly(session.time_left)} left")
    return ", ".join(times)
