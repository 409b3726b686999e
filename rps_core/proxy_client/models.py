"""What the service answers: an issued name, and the state of a session."""

from __future__ import annotations

from rps_core.values import dataclass


@dataclass(frozen=True, slots=True)
class Issued:
    """A name that the service issued, and the claim that proves that it is ours.

    A satellite knows no claims: there `claim` is the session's name at the satellite, the first label of
    `host`, and `name` is one that the launcher made.
    """

    name: str
    host: str
    url: str
    claim: str

    def __repr__(self) -> str:
        return f"Issued({self.name!r}, …)"


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What the service knows of a session; `live`: its route answers now."""

    phase: str
    live: bool
    reason: str | None
