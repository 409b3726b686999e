"""A session as it is shown: in the list, the view, and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rps_core.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session as it is shown.

    `state`: pending, starting, ready, suspended, lapsed (the notebook stopped renewing its route),
    ending, ended, failed or unknown. `url` holds the token, and is null once there is nothing to
    visit. `raw_reason` is the scheduler's own code for `reason`. `time_left` is in seconds.
    `node_name` is what other hosts of the cluster call the node, where the site says (`node_domain`).
    `estimated_start` is the scheduler's guess, which moves; `estimated_at` says when it gave it.
    `cause` is why it is so, in a word of `rps_core.causes`; `advice` is what to do, where the scheduler's
    plugin knows better than these. `scheduler_away` and `service_away` are the words in which these did not
    answer.
    """

    record: Record
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
        """Nothing more will come of it."""
        return self.state in ("ended", "failed")

    def as_json(self) -> dict[str, Any]:
        """The documented fields (docs/commands.md)."""
        return {
            "name": self.record.name,
            "url": self.url,
            "cluster": self.record.cluster,
            "scheduler": self.record.scheduler,
            "job_id": self.record.job_id,
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
        }

    @classmethod
    def of_the_past(cls, record: Record) -> Session:
        """A session whose record tells its end."""
        return cls(
            record=record,
            state=record.outcome or "ended",
            reason=record.reason,
            cause=record.cause,
            url=None,
        )


def come_back(record: Record) -> str:
    """What to do after Ctrl-C, when the job goes on."""
    return (
        f"{record.name} goes on without this terminal. `rps status` shows it, `rps url` gives its "
        f"URL,\n`rps stop {record.name}` ends it."
    )


def _utc(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")
