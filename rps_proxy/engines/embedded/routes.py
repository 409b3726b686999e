"""The live routes, by host name."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from rps_proxy.engine import Target, Traffic
from rps_proxy.engines.embedded.headers import provenance
from rps_proxy.engines.embedded.upstream import Pool
from rps_proxy.hostnames import Hosts


class Endable(Protocol):
    """A transfer or websocket of a session that is under way."""

    def end(self) -> None:
        """End it; called when its session ends."""


class Route:
    """The route to one session's notebook, and what is under way on it."""

    websockets = True  # whether it carries websockets

    def __init__(
        self,
        name: str,
        host: str,
        hosts: Hosts,
        pool: Pool,
        traffic: Traffic | None = None,
        origins: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.host = host
        self.public_host = hosts.public(host)  # with the port, where the URL has one
        self.pool = pool
        self._hosts = hosts
        self._configured = frozenset(origins)  # by the session's user
        self._origins = self._configured | {f"{hosts.scheme}://{self.public_host}"}
        self.refused = float("-inf")  # when the refusal of another origin's page was last logged
        self.traffic = traffic or Traffic()
        self.under_way: set[Endable] = set()
        self.answers = True  # whether the notebook could be reached when last tried

    def origins(self, asked: str) -> frozenset[str]:
        """Return the origins whose pages may change something; `asked` is the Host header, lower-cased."""
        seen = self._hosts.seen_by_browser(asked, self.public_host)
        if seen == self.public_host:
            return self._origins
        return self._configured | {f"{self._hosts.scheme}://{seen}"}

    def provenance(self, remote: str, asked: str) -> Sequence[bytes]:
        """Return the fields of a request's head that name the client; `asked` as for `origins`."""
        seen = self._hosts.seen_by_browser(asked, self.public_host)
        return provenance(remote, seen, self._hosts.scheme)

    def end(self) -> None:
        """End everything under way and close the connections."""
        for each in list(self.under_way):
            each.end()
        self.under_way.clear()
        self.pool.close()


class Routes:
    """The routes by host name; see `Engine`."""

    def __init__(self, hosts: Hosts, context: ssl.SSLContext, connect_timeout: float) -> None:
        self._hosts = hosts
        self._context = context
        self._timeout = connect_timeout
        self._traffic = Traffic()
        self._by_name: dict[str, Route] = {}
        self._by_host: dict[str, Route] = {}

    def find(self, host: str) -> Route | None:
        """Return the route for exactly this Host header (lower-cased), or None."""
        name = self._hosts.without_port(host)
        return None if name is None else self._by_host.get(name)

    async def add(self, target: Target) -> None:
        """Add a route; a name that has a route keeps it."""
        if target.name in self._by_name:
            return
        host = target.host
        context = self._context if target.verified else None
        pool = Pool(host, target.address, target.port, context, self._timeout)
        route = Route(target.name, host, self._hosts, pool, self._traffic, target.origins)
        self._by_name[target.name] = self._by_host[host] = route

    async def remove(self, target: Target) -> None:
        """Remove a route and end what is under way on it."""
        self.take_out(target.name)

    async def reconcile(self, targets: Mapping[str, Target]) -> None:
        """Replace the routes by these."""
        for name in [name for name in self._by_name if name not in targets]:
            self.take_out(name)
        for target in targets.values():
            await self.add(target)

    async def certificate(self, pem: bytes) -> None:
        """Do nothing: the listener uses the new certificate for new connections."""

    async def traffic(self) -> Traffic:
        """Return the traffic of bodies and websockets, without heads."""
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
        """Remove a route by the session's name; see `remove`."""
        route = self._by_name.pop(name, None)
        if route is not None:
            del self._by_host[route.host]
            route.end()
