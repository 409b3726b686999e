"""A session in the registry: its phase, its job, its user."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from rps_core.node.agent.call_files import claim_digest


class Phase(IntEnum):
    """The phase of a session; it never goes back."""

    ISSUED = 0
    LINKED = 1
    READY = 2
    GONE = 3


class JobState(StrEnum):
    """The state of a session's job, as a scheduler reports it."""

    QUEUED = "queued"
    RUNNING = "running"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class JobReport:
    """A job's state as the feed or a launcher reported it.

    `estimate` is in seconds since 1970. `own_job` is the job's id, if the scheduler confirmed that it is the
    session's.
    """

    state: JobState
    reason: str | None = None
    estimate: float | None = None
    own_job: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """One row of the registry; times in seconds since 1970.

    Attributes:
        claim: SHA-256 digest; of no use in a satellite session.
        job_state: The state that was reported at `job_seen`.
        job_reason: Why the job waits or ended, a word of docs/protocol.md.
        notice: The text of the operator who ended the session, for its page.
        authenticated: `user` is authenticated, not only named.
        own_job: See `JobReport`.
        origins: Origins whose pages may change the notebook, beside its own.
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
    satellite: bool
    job_state: JobState | None
    job_reason: str | None
    job_estimate: float | None
    job_seen: float | None
    authenticated: bool
    own_job: str | None
    origins: tuple[str, ...] = ()
    notice: str | None = None

    @property
    def job(self) -> str | None:
        """Return its job's id: from the launcher, else from the agent."""
        return self.job_id or self.run_id

    def opens_with(self, claim: str) -> bool:
        """Return whether `claim` is this session's, compared in constant time."""
        return hmac.compare_digest(self.claim, claim_digest(claim)) and not self.satellite


@dataclass(frozen=True, slots=True)
class Request:
    """A request for a name: the caller's address `source`, and what the caller states.

    `authenticated`: `user` is authenticated, not only named. `satellite`: a call of the satellite's clients,
    which have no claim.
    """

    source: str
    cluster: str | None = None
    scheduler: str | None = None
    user: str | None = None
    authenticated: bool = False
    satellite: bool = False
