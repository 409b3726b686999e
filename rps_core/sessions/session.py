"""Describe a session for the list, the view, and JSON."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rps_core.state.record import SessionRecord
from rps_core.state.visit import visit_url
from rps_core.values import dataclass

if TYPE_CHECKING:
    from rps_core.state.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A session's state at one moment.

    Attributes:
        record: what the launcher keeps of it.
        state: pending, starting, ready, suspended, lapsed (the agent stopped renewing its route), ending,
            ended, failed or unknown.
        reason: the state's reason, for people.
        url: the URL with the token or the login link (`state.visit`); None once there is nothing to visit.
        node: the compute node, as the scheduler names it.
        node_name: the node's name on other hosts of the cluster, if the site gives `node_domain`.
        time_left: seconds.
        raw_reason: the scheduler's code for `reason`.
        estimated_start: the scheduler's estimate, which changes.
        estimated_at: when the scheduler gave the estimate.
        cause: a word of `rps_core.diagnosis.causes`.
        advice: what to do, if the scheduler's plugin knows more than the cause's own advice.
        scheduler_away: the error of a scheduler that did not answer.
        service_away: the error of a service that did not answer.
    """

    record: SessionRecord
    state: str
    reason: str | None
    url: str | None
    node: str | None = None
    node_name: str | None = None
    time_left: int | None = None
    raw_reason: str | None = None
    estimated_start: datetime | None = None
    estimated_at: datetime | None = None
    cause: str | None = None
    advice: str | None = None
    scheduler_away: str | None = None
    service_away: str | None = None

    @property
    def over(self) -> bool:
        """Whether the session has ended or failed."""
        return self.state in ("ended", "failed")

    def as_json(self) -> dict[str, Any]:
        """Return the documented fields (docs/commands.md)."""
        return {
            "name": self.record.name,
            "label": self.record.label,
            "url": self.url,
            "link": self.record.link,
            "tunnel": tunnel_json(self.record),
            "cluster": self.record.cluster,
            "cluster_identity": self.record.cluster_identity,
            "scheduler": self.record.scheduler,
            "job_id": self.record.job_id,
            "scheduler_words": self.record.scheduler_words,
            "state": self.state,
            "reason": self.reason,
            "cause": self.cause,
            "raw_reason": self.raw_reason,
            "estimated_start": _utc(self.estimated_start),
            "estimated_at": _utc(self.estimated_at),
            "node": self.node,
            "node_name": self.node_name,
            "created": _utc(datetime.fromtimestamp(self.record.created, UTC)),
            "time_left": self.time_left,
            "app": self.record.app,
            "directory": self.record.directory,
            "environment": self.record.environment or None,
        }

    @classmethod
    def of_the_past(cls, record: SessionRecord) -> SessionView:
        """Return an ended session from its record."""
        return cls(
            record=record,
            state=record.outcome or "ended",
            reason=record.reason,
            cause=record.cause,
            url=None,
        )


def tunnel_json(record: SessionRecord) -> dict[str, Any] | None:
    """Return how ssh reaches the session's service; None: browsers reach it directly."""
    return None if record.tunnel is None else asdict(record.tunnel)


def submitted(record: SessionRecord, store: Store) -> SessionView:
    """Return a submitted session from its files, without asking the scheduler."""
    files = store.files(record.name)
    url = visit_url(record, files, files.secrets())
    return SessionView(record=record, state="pending", reason=None, url=url, time_left=None)


def come_back(record: SessionRecord) -> str:
    """Format what to do after Ctrl-C while the job continues."""
    return (
        f"{record.name} continues. `rps status {record.name}` shows its state, `rps url {record.name}` its "
        f"URL, `rps stop {record.name}` stops it."
    )


def _utc(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")
