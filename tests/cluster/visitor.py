"""A visitor outside the cluster, who reaches it over the network of the host `outside` alone."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.cluster.hosts import Host
from tests.e2e.visitor import Answer, Visitor


class _Wildcard(AbstractResolver):
    """Every name is the service's address, as `*.<domain>` is in a name server."""

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
        async def with_session() -> Answer:
            trust = ssl.create_default_context(cafile=str(self.ca_file))
            connector = aiohttp.TCPConnector(resolver=_Wildcard(self.address), ssl=trust)
            timeout = aiohttp.ClientTimeout(total=90)
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
                answer = await visit(session)
            await asyncio.sleep(0.1)  # aiohttp ends its TLS connections after `close` has returned
            return answer

        return self.outside.in_its_network(lambda: asyncio.run(with_session()))
