"""Report a job's state to the service, for the session's page (docs/protocol.md).

A command that follows a session polls the scheduler in any case. Everyone who knows its address can read the
page, so a reason is one of the protocol's words: no node, no job id, and no text of a user.
"""

from __future__ import annotations

import time
from datetime import UTC
from typing import TYPE_CHECKING, Any

from rps_core.errors import RpsError
from rps_core.jobs import Gone, JobPhase, JobStatus, Known, Outcome
from rps_core.log import get_logger
from rps_core.node.agent.protocol import WAITS
from rps_core.protocol import EndCause

if TYPE_CHECKING:
    from rps_core.cluster import ClusterContext
    from rps_core.state.record import SessionRecord
    from rps_core.state.store import Store

# Seconds after which a waiting job is reported again, so that the page stays current.
AGAIN_AFTER = 60.0

# The word of docs/protocol.md for a job that is gone. Evidence may name users and nodes.
ENDS = {
    Outcome.COMPLETED: EndCause.COMPLETED,
    Outcome.FAILED: EndCause.FAILED,
    Outcome.CANCELLED: EndCause.CANCELLED,
    Outcome.TIMEOUT: EndCause.WALLTIME,
    Outcome.OUT_OF_MEMORY: EndCause.OUT_OF_MEMORY,
    Outcome.NODE_FAILED: EndCause.NODE_FAILED,
    Outcome.PREEMPTED: EndCause.PREEMPTED,
    Outcome.ENDED: EndCause.ENDED,
}

log = get_logger(__name__)


def report(status: JobStatus) -> dict[str, Any] | None:
    """Return the report for a job's status; None if the status is unknown."""
    if isinstance(status, Gone):
        return {"state": "gone", "reason": ENDS[status.outcome]}
    if not isinstance(status, Known):
        return None
    if status.phase is JobPhase.PENDING:
        said: dict[str, Any] = {"state": "queued"}
        if status.cause in WAITS:
            said["reason"] = status.cause
        if status.estimated_start is not None:
            said["estimate"] = status.estimated_start.astimezone(UTC).timestamp()
        return said
    if status.phase is JobPhase.SUSPENDED:
        return {"state": "running", "reason": "suspended"}
    return {"state": "running"}


class Reporter:
    """Reports one session's job: each change, and every minute while the job waits.

    It stops once the service has refused the call, as one of an earlier version does.
    """

    def __init__(self, record: SessionRecord, here: ClusterContext, store: Store) -> None:
        self._record = record
        self._here = here
        self._store = store
        self._unheard = False
        self._said: dict[str, Any] | None = None
        self._said_at = 0.0

    def report(self, status: JobStatus | None) -> None:
        """Report a status, unless the job is gone: the session's end reports that."""
        said = None if status is None or isinstance(status, Gone) else report(status)
        if said is None or self._unheard:
            return
        old = time.monotonic() - self._said_at >= AGAIN_AFTER and said["state"] == "queued"
        if said == self._said and not old:
            return
        from rps_core.proxy_client.client import client_of

        record = self._record
        try:
            secrets = self._store.files(record.name).secrets()
            if secrets is None:
                return
            client = client_of(record, self._here)
            client.report_job(record.name, secrets.claim, said)
        except RpsError as error:
            # The service answers, but does not know the call: an older one.
            self._unheard = getattr(error, "code", None) in ("no-such-call", "bad-request")
            log.info("job not reported", name=record.name, reason=error.message)
            return
        self._said, self._said_at = said, time.monotonic()
