"""Engines carry the traffic to the notebooks; `Service` decides which routes there are.

`embedded` runs in the service's process. `haproxy` and `apache` are programs with a life of their own: they
reach the service over a Unix socket, for the API, the pages and all that has no route, and learn of routes
without a reload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

ENGINES = ("embedded", "haproxy", "apache")
# Those whose websockets the service carries: all, or those of an engine that cannot end a single one.
LEAVES_WEBSOCKETS = ("embedded", "apache")
# The client's address, as an engine tells the service over the Unix socket. The engine sets it anew on
# each request; nobody else can reach that socket.
CALLER = "X-Rps-Caller"


class EngineError(Exception):
    """The engine did not take a change: it does not run, or does not answer. The text says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a session's route leads.

    `verified`: the notebook must prove over TLS to be `host`. Sessions of the old dialect have no
    certificate; theirs is plain HTTP.
    """

    name: str
    host: str
    address: str
    port: int
    verified: bool = True


@dataclass(slots=True)
class Traffic:
    """What an engine has carried since it started: open websockets, and bytes from and to clients."""

    websockets: int = 0
    received: int = 0
    sent: int = 0


class Engine(Protocol):
    """One way to carry traffic. Changes are carried out in the order in which they are asked for.

    Each raises EngineError where the engine cannot be reached; the service then asks for `reconcile`
    until it succeeds. None may take longer than two seconds.
    """

    async def add(self, target: Target) -> None:
        """Make a route live; when this returns, the next request takes it."""

    async def remove(self, target: Target) -> None:
        """Take a route out, and end what is under way on it: open websockets within 60 seconds."""

    async def reconcile(self, targets: Mapping[str, Target]) -> None:
        """Make the engine's routes these, by session name, and no others."""

    async def certificate(self, pem: bytes) -> None:
        """The front certificate is this from now on: PEM, with its key and chain."""

    async def traffic(self) -> Traffic:
        """What it has carried, as far as it tells."""

    def sweep(self) -> None:
        """Called every few seconds: close what is idle."""

    def close(self) -> None:
        """The service ends. An engine with a life of its own goes on with the routes that it has."""
