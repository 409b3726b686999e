"""Jobs and their states, as scheduler plugins report them.

Frozen dataclasses: plugins build and compare them, and cannot change them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from rps_core.protocol import Cause
from rps_core.values import dataclass

# The hosts of a cluster agree on the time to five minutes, for which a credential is valid (munge(7)).
_CLOCKS_AGREE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A session's job, as a scheduler plugin needs it.

    The id alone does not identify it: a scheduler that lost its jobs begins its ids again, and may give the
    id to another job. A job of this id is the session's if the user owns it and `is_shown_as` is true.
    `name` is its full name in the scheduler (`rps_job_name`); empty: the scheduler's plugin has none.
    `joined` is set for a session in the user's existing allocation (`rps start --here`), which has a name of
    the user's: the time at which the session started in it.
    """

    id: str
    tag: str
    session_dir: Path
    name: str = ""
    joined: datetime | None = None

    def is_shown_as(
        self, *, name: str | None = None, tag: str | None = None, submitted: datetime | None = None
    ) -> bool:
        """Return whether the scheduler shows this job, by its name or its tag.

        The job of an existing allocation is recognized by the time of its submission instead, which was
        before the session started.

        Args:
            name: the name that the scheduler shows; None: not known.
            tag: the tag that the scheduler shows; None: not known.
            submitted: the time of the submission; None: not known.
        """
        if self.joined is not None:
            return submitted is None or submitted <= self.joined + _CLOCKS_AGREE
        return bool((name and name == self.name) or (tag and tag == self.tag))

    def replaced(self, name: str | None, owner: str | None) -> Unknown:
        """Return the job's status if the scheduler has given its id to another job.

        Args:
            name: the other job's name; None: not known.
            owner: its owner; None: not known.
        """
        called = f" {name!a}" if name else ""
        of = f" of {owner}" if owner else ""
        return Unknown(
            reason=f"the scheduler has another job{called}{of} with its id {self.id}",
            cause=Cause.ID_REUSED,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A submission without a recorded job id: its launcher was killed meanwhile.

    `name` and `tag` are those of its `SessionSpec`. The submission is not older than `since`.
    """

    name: str
    tag: str
    session_dir: Path
    since: datetime


class JobPhase(StrEnum):
    """The state of a job that the scheduler knows."""

    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    COMPLETING = "completing"


class Outcome(StrEnum):
    """How a job ended, by the evidence. `ENDED`: it has ended, nothing more is known."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out of memory"
    NODE_FAILED = "node failed"
    PREEMPTED = "preempted"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The scheduler has this job.

    `reason` is in plain English, `raw_reason` the scheduler's own. `cause` is a word of
    `rps_core.protocol.Cause`, if the job waits. `advice`, in whole sentences, is what the user can
    do, with the scheduler's own command for this job; None: the advice of `causes`.
    """

    phase: JobPhase
    node: str | None = None
    reason: str | None = None
    raw_reason: str | None = None
    cause: str | None = None
    advice: str | None = None
    estimated_start: datetime | None = None
    time_left: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """The job has ended, by the `evidence`; `by` is the user who cancelled it.

    `cause` is a word of `rps_core.protocol.Cause` if the evidence shows it; None: see the outcome.
    """

    outcome: Outcome
    evidence: str
    by: str | None = None
    exit_code: int | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """The query failed, or its output could not be parsed, for the `reason`.

    Unknown ends nothing: a session continues until there is evidence of its end. `cause` is a word of
    `rps_core.protocol.Cause`: `scheduler-away` if the scheduler did not answer, `id-reused` if it has another
    job with this id (`Job.replaced`).
    """

    reason: str
    cause: str | None = None


JobStatus = Known | Gone | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedJob:
    """A job of any user, as the scheduler shows it.

    `owner` is a login name. `name` and `owner` are None if the scheduler does not show the job or its owner.
    """

    status: JobStatus
    name: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A line of evidence for a cause, and its source: `sacct`, `agent`, `job.log`."""

    source: str
    line: str
