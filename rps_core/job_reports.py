"""Telling the service how a job stands, for the page that waits for it (docs/protocol.md).

Whoever follows a session has asked the scheduler anyway. The page is for anybody who has its address, so only
plain words go there: no node, no job's id, and nothing that somebody typed.
"""

from __future__ import annotations

import time
from datetime import UTC
from typing import TYPE_CHECKING, Any

from rps_core.errors import RpsError
from rps_core.log import get_logger
from rps_core.models import Gone, JobPhase, JobStatus, Known, Outcome

if TYPE_CHECKING:
    from rps_core.cluster import Here
    from rps_core.record import Record
    from rps_core.store import Store

AGAIN_AFTER = (
    60.0  # seconds after which a queue's word is given again, so that it does not look old
)
LONGEST_REASON = 200  # characters
LONGEST_OWNER = 64  # characters, of a job that the feed found to be somebody else's

# Of a job that is gone. The evidence may name users and nodes; this does not.
ENDS = {
    Outcome.COMPLETED: ("completed", "the job ended"),
    Outcome.FAILED: ("failed", "the job failed"),
    Outcome.CANCELLED: ("cancelled", "the job was cancelled"),
    Outcome.TIMEOUT: ("walltime", "its walltime was over"),
    Outcome.OUT_OF_MEMORY: ("out of memory", "the job ran out of memory"),
    Outcome.NODE_FAILED: ("node failed", "the node failed"),
    Outcome.PREEMPTED: ("preempted", "another job took its place"),
    Outcome.ENDED: ("ended", "the job ended"),
}

log = get_logger(__name__)


def report(status: JobStatus) -> dict[str, Any] | None:
    """What to say of a job of that status; None of one that is not known: that is no news."""
    if isinstance(status, Gone):
        return {"state": "gone", "reason": ENDS[status.outcome][1]}
    if not isinstance(status, Known):
        return None
    if status.phase is JobPhase.PENDING:
        said: dict[str, Any] = {"state": "queued"}
        # A code that rps does not know is answered as it came, and may hold anything.
        if status.reason and status.reason != status.raw_reason:
            said["reason"] = _line(status.reason)
        if status.estimated_start is not None:
            said["estimate"] = status.estimated_start.astimezone(UTC).timestamp()
        return said
    if status.phase is JobPhase.SUSPENDED:
        return {"state": "running", "reason": "the scheduler has suspended the job"}
    return {"state": "running"}


class Reporter:
    """Tells of one session, when something changed and every minute while its job waits.

    Silent where nobody wants to hear it: at an older service, which knows no such call, and while the
    service is away.
    """

    def __init__(self, record: Record, here: Here, store: Store) -> None:
        self._record = record
        self._here = here
        self._store = store
        self._unheard = record.endpoint.protocol != "rps"
        self._said: dict[str, Any] | None = None
        self._said_at = 0.0

    def tell(self, status: JobStatus | None) -> None:
        """Pass on what the scheduler said, unless the job is gone: what ends the session tells that."""
        said = None if status is None or isinstance(status, Gone) else report(status)
        if said is None or self._unheard:
            return
        old = time.monotonic() - self._said_at >= AGAIN_AFTER and said["state"] == "queued"
        if said == self._said and not old:
            return
        from rps_core.client import client_of

        record = self._record
        try:
            secrets = self._store.files(record.name).secrets()
            if secrets is None:
                return
            client = client_of(record, self._here)
            client.tell_job(record.name, secrets.claim, said)
        except RpsError as error:
            # Not away, but it does not take this: a service from before the call.
            self._unheard = getattr(error, "code", None) in ("no-such-call", "bad-request")
            log.info("job not reported", name=record.name, reason=error.message)
            return
        self._said, self._said_at = said, time.monotonic()


def _line(text: str) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:LONGEST_REASON]
