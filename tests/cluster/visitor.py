"""A visitor outside the cluster, in the network of the host `outside`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.cluster.hosts import Host
from tests.e2e.visitor import Answer, Visitor


class _Wildcard(AbstractResolver):
    """Resolve every name to the service's address, as `*.<domain>` in a name server."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=self.address, port=port, family=socket.AF_INET,
                              proto=0, flags=socket.AI_NUMERICHOST)]  # fmt: skip

    async def close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True)
class OutsideVisitor(Visitor):
    """Visits one session; trusts the service's CA alone."""

    outside: Host
    address: str

    def _run(self, visit: Callable[[aiohttp.ClientSession], Coroutine[Any, Any, Answer]]) -> Answer:
        run = self._visit(visit, _Wildcard(self.address))
        return self.outside.in_its_network(lambda: asyncio.run(run))
