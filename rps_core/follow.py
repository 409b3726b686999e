"""Following a session until it is ready, or over."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rps_core import sessions
from rps_core.job_reports import Reporter
from rps_core.models import JobStatus
from rps_core.sessions import Session
from rps_core.shell import Shell
from rps_core.store import Record, Store

if TYPE_CHECKING:
    from rps_core.cluster import Here

_SERVICE_INTERVAL = 0.5  # the service knows first, and is cheap to ask
_SLOWEST_SERVICE_INTERVAL = 5.0
_SLOWEST_POLL = 4  # times the configured interval
_BACK_OFF = 1.25


def until_ready(
    record: Record,
    here: Here,
    store: Store,
    shell: Shell,
    show: Callable[[Session], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Session:
    """Ask until the session is ready or over; `show` is called with each answer.

    The scheduler is polled once in `scheduler.poll_interval` seconds at first, the service more often;
    both less so the longer it takes.
    """
    interval = _SERVICE_INTERVAL
    poll_interval = here.loaded.settings.scheduler.poll_interval
    slowest_poll = poll_interval * _SLOWEST_POLL
    next_poll = clock()
    status: JobStatus | None = None
    asked: datetime | None = None
    reporter = Reporter(record, here, store)
    while True:
        if clock() >= next_poll:
            asked = datetime.now(UTC)
            status = sessions.poll([record], here, store, shell)[record.name]
            reporter.tell(status)
            next_poll = clock() + poll_interval
            poll_interval = min(poll_interval * _BACK_OFF, slowest_poll)
        session = sessions.inspect(record, status, here, store, asked)
        show(session)
        if session.state == "ready" or session.over:
            return session
        sleep(interval)
        interval = min(interval * 1.05, _SLOWEST_SERVICE_INTERVAL)
