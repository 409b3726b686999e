"""Following a session: until it is ready, or until it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from rps_core import sessions
from rps_core.job_reports import Reporter
from rps_core.models import JobStatus, Unknown
from rps_core.record import Record
from rps_core.session import Session
from rps_core.shell import Shell
from rps_core.store import Store

if TYPE_CHECKING:
    from rps_core.cluster import Here

_SERVICE_INTERVAL = 0.5  # the service knows first, and is cheap to ask
_SLOWEST_SERVICE_INTERVAL = 5.0
_READY_INTERVAL = 15.0  # as often as an agent renews its lease
_LAST_MINUTES = 180.0  # seconds of time left in which it is asked as before
_SLOWEST_POLL = 4  # times the configured interval
_SLOWEST_POLL_WHEN_READY = 20
_BACK_OFF = 1.25

STAGES = ("submitted", "queued", "starting", "ready")
_STAGE_OF = {
    "pending": "queued",
    "starting": "starting",
    "ready": "ready",
}
_HAS_STARTED = frozenset({"suspended", "lapsed"})  # and may have been ready


@dataclass(frozen=True, slots=True)
class Sight:
    """A session as it is seen now: `stage`, one of STAGES, is as far as it was known to have come, and two
    moments, in Unix seconds, say since when somebody gives no answer."""

    session: Session
    stage: str
    scheduler_away_since: float | None = None
    service_away_since: float | None = None

    @classmethod
    def after(cls, before: Sight | None, session: Session) -> Sight:
        """What is seen now, where `before` was seen last. Silence takes nothing back of how far a session
        has come; a job that is put back into the queue does."""
        last = before or cls(session, STAGES[0])
        kept = last.stage
        if session.state in _HAS_STARTED and kept != "ready":
            kept = "starting"
        return cls(
            session,
            _STAGE_OF.get(session.state, kept),
            _since(last.scheduler_away_since, session.scheduler_away),
            _since(last.service_away_since, session.service_away),
        )


class Poll:
    """One question at a time, asked in a thread: a scheduler may take a minute to say that it is away, and
    meanwhile there are others to listen to."""

    def __init__(self) -> None:
        self._answers: list[JobStatus | BaseException] = []
        self._thread: threading.Thread | None = None

    @property
    def asked(self) -> bool:
        """A question is open."""
        return self._thread is not None

    def ask(self, question: Callable[[], JobStatus]) -> None:
        """Ask; `answer` has it later."""

        def work() -> None:
            try:
                self._answers.append(question())
            except BaseException as error:  # noqa: BLE001 - raised again where the answer is taken
                self._answers.append(error)

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Sleep so long, or until there is an answer."""
        if self._thread is None:
            time.sleep(seconds)
        else:
            self._thread.join(seconds)

    def answer(self) -> JobStatus | None:
        """The answer, once; None while there is none."""
        if not self._answers:
            return None
        self._thread = None
        found = self._answers.pop()
        if isinstance(found, BaseException):
            raise found
        return found


def follow(
    record: Record,
    here: Here,
    store: Store,
    shell: Shell,
    show: Callable[[Sight], None],
    *,
    until_over: bool = False,
    timeout: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    poll: Poll | None = None,
) -> Session:
    """Ask until the session is ready or over, with `until_over` past that, at the longest for `timeout`
    seconds; `show` is called with each answer.

    The scheduler is polled once in `scheduler.poll_interval` seconds at first, the service more often;
    both less so the longer it takes.
    """
    poll = poll or Poll()
    began = last_poll = next_poll = clock()
    interval = base = here.loaded.settings.scheduler.poll_interval
    pause = _SERVICE_INTERVAL
    status: JobStatus = Unknown(reason="the scheduler has not answered yet")
    asked: datetime | None = None
    sight: Sight | None = None
    reporter = Reporter(record, here, store)
    while True:
        if clock() >= next_poll and not poll.asked:
            last_poll = clock()
            poll.ask(partial(_status, record, here, store, shell))
            if sight is None:  # mostly it is there at once, and without it there is little to say
                poll.wait(1.0)
        answer = poll.answer()
        if answer is not None:
            status, asked = answer, datetime.now(UTC)
            reporter.tell(status)
            record = store.load(record.name)  # `rps stop`, elsewhere, may have ended it
            next_poll = last_poll + interval
            ready = sight is not None and sight.stage == "ready"
            slowest = base * (_SLOWEST_POLL_WHEN_READY if ready else _SLOWEST_POLL)
            interval = min(interval * _BACK_OFF, slowest)
        session = sessions.inspect(record, status, here, store, asked)
        before, sight = sight, Sight.after(sight, session)
        show(sight)
        late = timeout is not None and clock() - began >= timeout
        if session.over or late or (session.state == "ready" and not until_over):
            return session
        if before is not None and before.stage != sight.stage:
            pause = _SERVICE_INTERVAL
        if session.state == "ending":  # what became of it only the scheduler knows
            next_poll = min(next_poll, last_poll + base)
        poll.wait(pause if timeout is None else min(pause, max(0.0, timeout - clock() + began)))
        pause = min(pause * 1.05, _slowest_pause(session))


def _status(record: Record, here: Here, store: Store, shell: Shell) -> JobStatus:
    return sessions.poll([record], here, store, shell)[record.name]


def _since(since: float | None, silence: str | None) -> float | None:
    return None if silence is None else since or time.time()


def _slowest_pause(session: Session) -> float:
    if session.state != "ready" or (session.time_left or 0) < _LAST_MINUTES:
        return _SLOWEST_SERVICE_INTERVAL
    return _READY_INTERVAL
