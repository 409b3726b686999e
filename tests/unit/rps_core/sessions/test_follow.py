"""Following a session: polling intervals, missing answers, and the end.

On a clock of the test.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from rps_core.jobs import JobPhase, JobStatus, Known, Unknown
from rps_core.sessions import follow
from rps_core.sessions import status as sessions
from rps_core.sessions.follow import Poll, Progress
from rps_core.sessions.session import SessionView

PENDING = Known(phase=JobPhase.PENDING)


class Anything:
    """Stands for settings and stores that are only passed on."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


@dataclass
class World(Poll):
    """A scheduler and a service; `state_at` gives a session's state at a time."""

    state_at: Callable[[float], dict[str, Any]]
    status: JobStatus = PENDING
    now: float = 0.0
    polls: list[float] = field(default_factory=list)
    asked_service: list[float] = field(default_factory=list)
    seen: list[Progress] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def ask(self, question: Callable[[], JobStatus]) -> None:
        self._answers.append(question())

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def follow(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> SessionView:
        record: Any = Anything(name="one-two-three")
        settings = Anything(scheduler=Anything(poll_interval=15.0))
        here: Any = Anything(loaded=Anything(settings=settings))
        files = Anything(secrets=lambda: None)
        store: Any = Anything(load=lambda _: record, files=lambda _: files)

        def poll(*_: Any) -> dict[str, JobStatus]:
            self.polls.append(self.now)
            return {"one-two-three": self.status}

        def inspect(*_: Any) -> SessionView:
            self.asked_service.append(self.now)
            message: dict[str, Any] = {"reason": None, "url": None, **self.state_at(self.now)}
            return SessionView(record=record, **message)

        monkeypatch.setattr(sessions, "poll", poll)
        monkeypatch.setattr(sessions, "inspect", inspect)
        return follow.follow(
            record,
            here,
            store,
            self.seen.append,
            clock=lambda: self.now,
            poll=self,
            **options,
        )


def gaps(times: list[float]) -> list[float]:
    return [later - sooner for sooner, later in pairwise(times)]


def test_the_scheduler_is_asked_seldom_and_ever_less(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda now: {"state": "ready" if now > 1800 else "pending"})
    assert world.follow(monkeypatch).state == "ready"
    polls = gaps(world.polls)
    assert min(polls) >= 15
    assert 59 <= polls[-1] <= max(polls) < 70
    pauses = gaps(world.asked_service)[1:]
    assert pauses[0] == pytest.approx(0.5, abs=0.05)
    assert max(pauses) == pytest.approx(5.0)


def test_past_ready_polls_are_fewer_until_the_last_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def state_at(now: float) -> dict[str, Any]:
        return {"state": "ended" if now > 7200 else "ready", "time_left": int(7200 - now)}

    world = World(state_at)
    assert world.follow(monkeypatch, until_over=True).state == "ended"
    assert max(gaps(world.polls)) > 200
    quiet = [b - a for a, b in pairwise(world.asked_service) if a < 6900]
    assert max(quiet) == pytest.approx(15.0)
    last = [b - a for a, b in pairwise(world.asked_service) if a > 7050]
    assert max(last) <= 5.0


def test_an_end_in_sight_is_asked_after_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def state_at(now: float) -> dict[str, Any]:
        if now < 1000:
            return {"state": "ready", "time_left": 9999}
        return {"state": "ended" if world.polls[-1] > 1000 else "ending"}

    world = World(state_at)
    world.follow(monkeypatch, until_over=True)
    assert world.now < 1040


def test_silence_has_a_beginning_and_takes_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock: list[float] = []
    monkeypatch.setattr("time.time", lambda: 1000 + clock[-1])

    def state_at(now: float) -> dict[str, Any]:
        clock.append(now)
        if now > 300:
            return {"state": "ready"}
        if now > 200:
            return {"state": "starting", "service_away": "no route"}
        if now > 100:
            return {"state": "unknown", "scheduler_away": "Unable to contact slurm controller"}
        return {"state": "pending"}

    world = World(state_at)
    world.follow(monkeypatch)
    silent = [sight for sight in world.seen if sight.scheduler_away_since]
    assert {sight.stage for sight in silent} == {"queued"}
    assert len({sight.scheduler_away_since for sight in silent}) == 1
    assert 1100 < (silent[0].scheduler_away_since or 0) < 1110
    starting = [sight for sight in world.seen if sight.stage == "starting"]
    assert all(one.scheduler_away_since is None for one in starting)
    assert 1200 < (starting[-1].service_away_since or 0) < 1210
    assert world.seen[-1].stage == "ready"


def test_a_job_that_is_put_back_into_the_queue_is_shown_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states = iter(["pending", "starting", "pending", "starting", "ready"])
    world = World(lambda _: {"state": next(states)})
    world.follow(monkeypatch)
    stages = [sight.stage for sight in world.seen]
    assert stages == ["queued", "starting", "queued", "starting", "ready"]


def test_a_session_that_is_suspended_or_silent_has_come_as_far_as_it_had() -> None:
    def after(before: Progress | None, state: str) -> Progress:
        record: Any = Anything(name="one-two-three")
        return Progress.after(
            before, SessionView(record=record, state=state, reason=None, url=None)
        )

    assert after(None, "lapsed").stage == "starting"
    assert after(after(None, "pending"), "suspended").stage == "starting"
    assert after(after(None, "ready"), "lapsed").stage == "ready"
    assert after(after(None, "pending"), "unknown").stage == "queued"


def test_the_wait_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda _: {"state": "pending"}, status=Unknown(reason="x"))
    assert world.follow(monkeypatch, timeout=30.0).state == "pending"
    assert world.now == pytest.approx(30.0, abs=1.1)


def test_a_slow_scheduler_delays_no_request() -> None:
    """The question is open, and waiting for it ends when it is answered."""
    import threading

    release = threading.Event()
    poll = Poll()

    def question() -> JobStatus:
        release.wait(30)
        return PENDING

    poll.ask(question)
    poll.wait(0.01)
    assert poll.asked
    assert poll.answer() is None
    release.set()
    poll.wait(30)
    assert poll.answer() == PENDING
    assert not poll.asked

    def broken() -> JobStatus:
        raise ValueError("a defect")

    poll.ask(broken)
    poll.wait(30)
    with pytest.raises(ValueError, match="a defect"):
        poll.answer()
