"""The routes that are live, found by host name: the one door from a request to a notebook."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Protocol

from rps_proxy.engines import Target, Traffic
from rps_proxy.headers import provenance
from rps_proxy.hosts import Hosts
from rps_proxy.upstream import Pool


class Endable(Protocol):
    """Something under way for a session: a transfer, a websocket."""

    def end(self) -> None:
        """Break it off; called when its session ends."""


class Route:
    """The way to one session's notebook, and all that is under way there."""

    websockets = True  # whether it carries them

    def __init__(
        self, name: str, host: str, public_host: str, pool: Pool, traffic: Traffic | None = None
    ) -> None:
        self.name = name
        self.host = host
        self.public_host = public_host  # with the port, where the URL has one
        self.pool = pool
        self.traffic = traffic or Traffic()
        self.under_way: set[Endable] = set()
        self.answers = True  # whether the notebook could be reached when last tried

    def provenance(self, remote: str) -> Sequence[bytes]:
        """The lines of a request's head that say who it comes from."""
        return provenance(remote, self.public_host)

    def end(self) -> None:
        """Break off everything under way and close the connections."""
        for each in list(self.under_way):
            each.end()
        self.under_way.clear()
        self.pool.close()


class Routes:
    """The embedded engine's routes, by host name with and without the public port; see `Engine`."""

    def __init__(self, hosts: Hosts, context: ssl.SSLContext, connect_timeout: float) -> None:
        self._hosts = hosts
        self._context = context
        self._timeout = connect_timeout
        self._traffic = Traffic()
        self._by_name: dict[str, Route] = {}
        self._by_host: dict[str, Route] = {}

    def find(self, host: str) -> Route | None:
        """The route for a Host header, lower-cased. An exact match, or none."""
        return self._by_host.get(host)

    async def add(self, target: Target) -> None:
        """Make a route live; a name that is live keeps the route that it has."""
        if target.name in self._by_name:
            return
        host = target.host
        context = self._context if target.verified else None
        pool = Pool(host, target.address, target.port, context, self._timeout)
        route = Route(target.name, host, self._hosts.public(host), pool, self._traffic)
        self._by_name[target.name] = route
        self._by_host[host] = self._by_host[f"{host}:{self._hosts.port}"] = route

    async def remove(self, target: Target) -> None:
        """Take a route out and break off what is under way on it."""
        self.take_out(target.name)

    async def reconcile(self, targets: Mapping[str, Target]) -> None:
        """Make the routes these."""
        for name in [name for name in self._by_name if name not in targets]:
            self.take_out(name)
        for target in targets.values():
            await self.add(target)

    async def certificate(self, pem: bytes) -> None:
        """Nothing: the listener hands new connections the new one."""

    async def traffic(self) -> Traffic:
        """Bodies and websockets, without heads."""
        return self._traffic

    def sweep(self) -> None:
        """Close idle connections."""
        for route in self._by_name.values():
            route.pool.sweep()

    def close(self) -> None:
        """Remove every route."""
        for name in list(self._by_name):
            self.take_out(name)

    def take_out(self, name: str) -> None:
        """As `remove`, by the session's name."""
        route = self._by_name.pop(name, None)
        if route is not None:
            del self._by_host[route.host], self._by_host[f"{route.host}:{self._hosts.port}"]
            route.end()
