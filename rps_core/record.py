"""What the launcher keeps of a session, and its secrets, which are kept apart from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """How to reach a service: the name it must prove, its port, and where to connect instead of asking
    DNS (`*.localhost` names, which glibc does not resolve). `ca_file`: null for the system's store.
    `protocol`: what it speaks, `rps` or `satellite` (docs/protocol.md).
    """

    host: str
    port: int
    connect: str | None = None
    ca_file: str | None = None
    protocol: str = "rps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the launcher keeps of a session. Times are Unix seconds; secrets are not in here.

    `submitting` is set before the scheduler is asked: from then on there may be a job, even if `job_id`
    was never noted. `ended` is null while the session may still live; `outcome` is then null too,
    else `ended` or `failed`, `reason` says why, and `cause` is the word for it (`causes.OVER`).
    `settings`: what it was started with, by dotted key, for another like it (`again`).
    `inside`: it runs in an allocation that its user holds, which is its job and goes on when it ends.
    """

    name: str
    tag: str
    cluster: str
    site: str
    scheduler: str
    url: str
    endpoint: Endpoint
    own_service: bool
    app: str
    directory: str
    walltime: int
    created: float
    job_id: str | None = None
    submitting: bool = False
    ended: float | None = None
    outcome: str | None = None
    reason: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    inside: bool = False
    cause: str | None = None

    def is_called(self, prefix: str) -> bool:
        """Whether the session's name begins so, or the host in its URL: at the older service they differ."""
        host = self.url.partition("//")[2]
        return self.name.startswith(prefix) or host.startswith(prefix)

    def visit_url(self, secrets: Secrets | None) -> str | None:
        """The URL with its token; None once the session has no secrets any more."""
        return f"{self.url}?token={secrets.token}" if secrets else None


@dataclass(frozen=True, slots=True)
class Secrets:
    """What speaks for the session to the service (its claim, or where the service knows none its name
    there), and the notebook's own token."""

    claim: str
    token: str

    def __repr__(self) -> str:
        return "Secrets(…)"
