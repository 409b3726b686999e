"""How often anybody is asked while a session is followed, on a clock of the test's own."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from rps_core import follow, sessions
from rps_core.models import JobPhase, JobStatus, Known
from rps_core.sessions import Session


@dataclass
class Clock:
    now: float = 0.0
    polls: list[float] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)


class Anything:
    """Stands for settings and stores that are only passed on."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def test_the_scheduler_is_asked_seldom_and_ever_less(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    record: Any = Anything(name="one-two-three", endpoint=Anything(protocol="satellite"))
    scheduler = Anything(poll_interval=15.0)
    here: Any = Anything(loaded=Anything(settings=Anything(scheduler=scheduler)))

    def poll(_records: Any, *_more: Any) -> dict[str, JobStatus]:
        clock.polls.append(clock.now)
        return {"one-two-three": Known(phase=JobPhase.PENDING)}

    def inspect(*_arguments: Any) -> Session:
        clock.asked.append(clock.now)
        state = "ready" if clock.now > 1800 else "pending"
        return Session(record=record, state=state, reason=None, url=None)

    def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(sessions, "poll", poll)
    monkeypatch.setattr(sessions, "inspect", inspect)
    nothing: Any = None
    found = follow.until_ready(
        record, here, nothing, nothing, lambda _: None, clock=lambda: clock.now, sleep=sleep
    )
    assert found.state == "ready"
    gaps = [later - sooner for sooner, later in zip(clock.polls, clock.polls[1:], strict=False)]
    assert min(gaps) >= 15
    assert gaps[-1] >= 59
    assert max(gaps) < 70
    pauses = [later - sooner for sooner, later in zip(clock.asked, clock.asked[1:], strict=False)]
    assert pauses[0] == pytest.approx(0.5)
    assert max(pauses) == pytest.approx(5.0)
