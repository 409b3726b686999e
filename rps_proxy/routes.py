"""The routes that are live, found by host name: the one door from a request to a notebook."""

from __future__ import annotations

import re
import ssl
from typing import Protocol

from rps_proxy.upstream import Pool


class Endable(Protocol):
    """Something under way for a session: a transfer, a websocket."""

    def end(self) -> None:
        """Break it off; called when its session ends."""


class Route:
    """The way to one session's notebook, and all that is under way there."""

    def __init__(self, name: str, host: str, public_host: str, pool: Pool) -> None:
        self.name = name
        self.host = host
        self.public_host = public_host  # with the port, where the URL has one
        self.pool = pool
        self.under_way: set[Endable] = set()
        self.answers = True  # whether the notebook could be reached when last tried

    def end(self) -> None:
        """Break off everything under way and close the connections."""
        for each in list(self.under_way):
            each.end()
        self.under_way.clear()
        self.pool.close()


class Routes:
    """Live routes by host name, with and without the public port."""

    def __init__(
        self, domain: str, public_port: int, context: ssl.SSLContext, connect_timeout: float
    ) -> None:
        self._domain = domain
        self._port = public_port
        self._context = context
        self._timeout = connect_timeout
        self._form = re.compile(rf"([a-z0-9-]{{1,100}})\.{re.escape(domain)}(?::{public_port})?")
        self._by_name: dict[str, Route] = {}
        self._by_host: dict[str, Route] = {}

    def find(self, host: str) -> Route | None:
        """The route for a Host header, lower-cased. An exact match, or none."""
        return self._by_host.get(host)

    def host(self, name: str) -> str:
        """A session's host name."""
        return f"{name}.{self._domain}"

    def label(self, host: str) -> str | None:
        """The label in front of our domain of a Host header, lower-cased; None: not one of ours."""
        match = self._form.fullmatch(host)
        return match[1] if match else None

    def public_host(self, host: str) -> str:
        """`host` as it stands in a URL: with the public port, unless that is 443."""
        return host if self._port == 443 else f"{host}:{self._port}"

    def is_live(self, name: str) -> bool:
        """Whether the route of that name answers now."""
        return name in self._by_name

    def add(self, name: str, address: str, port: int) -> None:
        """Make a route live; a name that is live keeps the route that it has."""
        if name in self._by_name:
            return
        host = self.host(name)
        pool = Pool(host, address, port, self._context, self._timeout)
        route = Route(name, host, self.public_host(host), pool)
        self._by_name[name] = route
        self._by_host[host] = self._by_host[f"{host}:{self._port}"] = route

    def remove(self, name: str) -> None:
        """Take a route out and break off what is under way on it."""
        route = self._by_name.pop(name, None)
        if route is not None:
            del self._by_host[route.host], self._by_host[f"{route.host}:{self._port}"]
            route.end()

    def sweep(self) -> None:
        """Close idle connections."""
        for route in self._by_name.values():
            route.pool.sweep()

    def close(self) -> None:
        """Remove every route."""
        for name in list(self._by_name):
            self.remove(name)
