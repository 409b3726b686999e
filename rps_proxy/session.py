"""A session as the registry knows it: how far it has come, its job, who asked for it."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Phase(IntEnum):
    """How far a session has come. A phase is never left backwards."""

    ISSUED = 0
    LINKED = 1
    READY = 2
    GONE = 3


class JobState(StrEnum):
    """What a scheduler says of a session's job."""

    QUEUED = "queued"
    RUNNING = "running"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class JobReport:
    """What somebody who may ask the scheduler said of a job; `estimate` in seconds since 1970. `own_job`: the
    job's id, where the scheduler showed that it is the session's."""

    state: JobState
    reason: str | None = None
    estimate: float | None = None
    own_job: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """One row of the registry. Times are seconds since 1970, `claim` is a SHA-256 digest.

    `job_state` is what was said of the job at `job_seen`; `job_reason`, in words for the page of the
    session, why it waits or is over. A session of the old dialect has no claim. `user` was proved if
    `authenticated`; `own_job` is as of `JobReport`.
    """

    name: str
    claim: bytes
    phase: Phase
    job_id: str | None
    run_id: str | None
    address: str | None
    port: int | None
    reason: str | None
    created: float
    lapsed: float | None
    ended: float | None
    cluster: str | None
    scheduler: str | None
    user: str | None
    source: str
    old_dialect: bool
    job_state: JobState | None
    job_reason: str | None
    job_estimate: float | None
    job_seen: float | None
    authenticated: bool
    own_job: str | None

    @property
    def job(self) -> str | None:
        """Its job's id: as linked by the launcher, else as the agent gave it."""
        return self.job_id or self.run_id

    def opens_with(self, claim: str) -> bool:
        """Whether `claim` is this session's, compared in constant time."""
        return hmac.compare_digest(self.claim, digest(claim)) and not self.old_dialect


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks for a name. `source` is the caller's address, the rest is what it says of itself.

    `authenticated`: the user was proved, and is not only said. `old_dialect`: asked without a claim.
    """

    source: str
    cluster: str | None = None
    scheduler: str | None = None
    user: str | None = None
    authenticated: bool = False
    old_dialect: bool = False


def digest(claim: str) -> bytes:
    """What is kept of a claim."""
    return hashlib.sha256(claim.encode()).digest()
