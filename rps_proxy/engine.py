"""The interface of engines, which carry the traffic to the notebooks.

`embedded` runs in the service's process. `haproxy` and `apache` are separate programs: they connect to the
service over a Unix socket, for the API, the pages and requests without a route, and get routes without a
reload. `Service` decides which routes exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

ENGINES = ("embedded", "haproxy", "apache")
# Engines whose websockets the service carries: its own, and one that cannot end a single websocket.
LEAVES_WEBSOCKETS = ("embedded", "apache")
# The field in which Apache sends the client's address over the Unix socket: see `rps_proxy.http.door`.
CALLER = "X-Rps-Caller"


class EngineError(Exception):
    """The engine did not apply a change; the text has the reason."""


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a session's route.

    `verified`: the notebook must have a certificate for `host`. Satellite sessions have none, and are
    reached by plain HTTP. `origins`: further origins whose pages may change something.
    """

    name: str
    host: str
    address: str
    port: int
    verified: bool = True
    origins: tuple[str, ...] = ()


@dataclass(slots=True)
class Traffic:
    """Open websockets, and bytes from and to clients since the engine's start."""

    websockets: int = 0
    received: int = 0
    sent: int = 0


class Engine(Protocol):
    """Carry the traffic; changes are applied in the order of the calls.

    Each raises EngineError if the engine cannot be reached; the service then calls `reconcile` until it
    succeeds. None may take longer than two seconds.
    """

    async def add(self, target: Target) -> None:
        """Add a route; when this returns, the next request uses it."""

    async def remove(self, target: Target) -> None:
        """Remove a route and end what is under way on it, websockets within 60 seconds."""

    async def reconcile(self, targets: Mapping[str, Target]) -> None:
        """Replace the engine's routes by these, by session name."""

    async def certificate(self, pem: bytes) -> None:
        """Use this front certificate (PEM, with its key and chain) from now on."""

    async def traffic(self) -> Traffic:
        """Return the traffic, as far as the engine reports it."""

    def sweep(self) -> None:
        """Close idle connections; called every few seconds."""

    def close(self) -> None:
        """End with the service. A separate engine goes on with its routes."""
