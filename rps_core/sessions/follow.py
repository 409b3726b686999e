"""Follow a session until it is ready, or until it has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from rps_core.jobs import JobStatus, Unknown
from rps_core.sessions import status as sessions
from rps_core.sessions.report_job import Reporter
from rps_core.sessions.session import SessionView
from rps_core.state.record import SessionRecord
from rps_core.state.store import Store
from rps_core.values import dataclass

if TYPE_CHECKING:
    from rps_core.cluster import ClusterContext

_SERVICE_INTERVAL = 0.5  # the service knows first, and is cheap to ask
_SLOWEST_SERVICE_INTERVAL = 5.0
_READY_INTERVAL = 15.0  # as often as an agent renews its lease
_LAST_MINUTES = 180.0  # seconds of time left in which the interval stays short
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
class Progress:
    """A session's state, and what was known before.

    Attributes:
        session: its state now.
        stage: the latest that it has reached, one of STAGES.
        scheduler_away_since: since when the scheduler does not answer, in Unix seconds.
        service_away_since: the same of the service.
    """

    session: SessionView
    stage: str
    scheduler_away_since: float | None = None
    service_away_since: float | None = None

    @classmethod
    def after(cls, before: Progress | None, session: SessionView) -> Progress:
        """Return the progress with a session's new state.

        A scheduler or service that does not answer leaves the stage as it is; a requeued job sets it back.
        """
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
    """One question at a time, asked in a thread.

    A scheduler's command may take a minute to fail, and meanwhile the service is asked.
    """

    def __init__(self) -> None:
        self._answers: list[JobStatus | BaseException] = []
        self._thread: threading.Thread | None = None

    @property
    def asked(self) -> bool:
        """Whether a question is open."""
        return self._thread is not None

    def ask(self, question: Callable[[], JobStatus]) -> None:
        """Ask; `answer` returns the result later."""

        def work() -> None:
            try:
                self._answers.append(question())
            except BaseException as error:  # noqa: BLE001 - raised again where the answer is taken
                self._answers.append(error)

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Sleep for this time, or until there is an answer."""
        if self._thread is None:
            time.sleep(seconds)
        else:
            self._thread.join(seconds)

    def answer(self) -> JobStatus | None:
        """Return the answer, once; None while there is none."""
        if not self._answers:
            return None
        self._thread = None
        found = self._answers.pop()
        if isinstance(found, BaseException):
            raise found
        return found


def follow(
    record: SessionRecord,
    here: ClusterContext,
    store: Store,
    show: Callable[[Progress], None],
    *,
    until_over: bool = False,
    timeout: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    poll: Poll | None = None,
) -> SessionView:
    """Poll until the session is ready or has ended, or until the timeout.

    The scheduler is polled every `scheduler.poll_interval` seconds at first, the service more often; both
    less often the longer it takes.

    Args:
        record: the session.
        here: its cluster.
        store: the user's sessions.
        show: is called with each state.
        until_over: continue after the session is ready.
        timeout: seconds.
        clock: the time, in seconds.
        poll: asks the scheduler.
    """
    poll = poll or Poll()
    began = last_poll = next_poll = clock()
    interval = base = here.loaded.settings.scheduler.poll_interval
    pause = _SERVICE_INTERVAL
    status: JobStatus = Unknown(reason="the scheduler has not answered yet")
    asked: datetime | None = None
    sight: Progress | None = None
    reporter = Reporter(record, here, store)
    while True:
        if clock() >= next_poll and not poll.asked:
            last_poll = clock()
            poll.ask(partial(_status, record, here, store))
            # Most schedulers answer at once, and without an answer there is little to show.
            if sight is None:
                poll.wait(1.0)
        answer = poll.answer()
        if answer is not None:
            status, asked = answer, datetime.now(UTC)
            reporter.report(status)
            record = store.load(record.name)  # `rps stop`, elsewhere, may have ended it
            next_poll = last_poll + interval
            ready = sight is not None and sight.stage == "ready"
            slowest = base * (_SLOWEST_POLL_WHEN_READY if ready else _SLOWEST_POLL)
            interval = min(interval * _BACK_OFF, slowest)
        session = sessions.inspect(record, status, here, store, asked)
        before, sight = sight, Progress.after(sight, session)
        show(sight)
        late = timeout is not None and clock() - began >= timeout
        if session.over or late or (session.state == "ready" and not until_over):
            return session
        if before is not None and before.stage != sight.stage:
            pause = _SERVICE_INTERVAL
        if session.state == "ending":  # only the scheduler knows how it ended
            next_poll = min(next_poll, last_poll + base)
        poll.wait(pause if timeout is None else min(pause, max(0.0, timeout - clock() + began)))
        pause = min(pause * 1.05, _slowest_pause(session))


def _status(record: SessionRecord, here: ClusterContext, store: Store) -> JobStatus:
    return sessions.poll([record], here, store)[record.name]


def _since(since: float | None, silence: str | None) -> float | None:
    return None if silence is None else since or time.time()


def _slowest_pause(session: SessionView) -> float:
    if session.state != "ready" or (session.time_left or 0) < _LAST_MINUTES:
        return _SLOWEST_SERVICE_INTERVAL
    return _READY_INTERVAL
