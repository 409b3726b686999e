"""Answer requests without a route, by Host: the API, a satellite call or a page."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from rps_core.log import get_logger
from rps_proxy.api.satellite import SatelliteCalls
from rps_proxy.control.service import Service
from rps_proxy.engine import LEAVES_WEBSOCKETS
from rps_proxy.engines.embedded.entry import RequestHandler
from rps_proxy.engines.embedded.exchange import UnacceptableError
from rps_proxy.engines.embedded.forwarder import Forwarder
from rps_proxy.engines.embedded.routes import Routes
from rps_proxy.hostnames import MANAGEMENT
from rps_proxy.http.answers import moved, plain_answer
from rps_proxy.pages.render import (
    EVENTS,
    ICON,
    PREFIX,
    Pages,
    accepts_html,
    is_reserved,
    unanswered,
)
from rps_proxy.pages.state import PageState
from rps_proxy.refusals import BusyError
from rps_proxy.registry.names import is_name

_log = get_logger("rps.dispatch")


class Management(Protocol):
    """Answers requests on the management host."""

    async def handle(self, request: web.BaseRequest, remote: str) -> web.Response:
        """Answer one request from the address `remote`."""


class NoManagement:
    """The management host where only sessions are served."""

    async def handle(self, request: web.BaseRequest, remote: str) -> web.Response:  # noqa: ARG002
        """Refuse it: the API is at another listener."""
        return plain_answer(421)


class ApiAlone(RequestHandler):
    """Answers the API's calls, on the management host, and nothing else."""

    def __init__(self, service: Service, api: Management, pages: Pages) -> None:
        super().__init__(None, None, pages)
        self._hosts = service.hosts
        self._api = api

    async def _elsewhere(
        self, request: web.BaseRequest, host: str, remote: str
    ) -> web.StreamResponse:
        if self._hosts.label(host) != MANAGEMENT:
            return plain_answer(421)
        return await self._api.handle(request, remote)


class Dispatcher(RequestHandler):
    """Answers for the service itself; `embedded`: the routes that its process carries."""

    def __init__(
        self,
        service: Service,
        api: Management,
        pages: Pages,
        embedded: tuple[Routes, Forwarder] | None = None,
    ) -> None:
        settings = service.settings
        super().__init__(embedded, settings.strict_transport, pages)
        self._service = service
        self._hosts = service.hosts
        self._api = api
        self._satellite = SatelliteCalls(service)
        self._routes_are_ours = service.settings.engine_kind in LEAVES_WEBSOCKETS

    async def _elsewhere(
        self, request: web.BaseRequest, host: str, remote: str
    ) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        # As at the satellite, whose Apache has one virtual host for them and for every host without a route.
        satellite_call = self._satellite.is_call(path) and self._hosts.is_well_formed(host)
        name = self._hosts.label(host)
        if name == MANAGEMENT:
            if satellite_call or self._satellite.is_index(path):
                return await self._satellite.handle(request, remote)
            return await self._api.handle(request, remote)
        if name is None or not is_name(name):
            absolute = self._hosts.without_dot(host)
            if absolute is not None and not satellite_call:
                return moved(f"{self._hosts.scheme}://{absolute}{request.raw_path}")
            home = self._hosts.is_domain(host) and not satellite_call
            if home and (accepts_html(request) or not self._satellite.is_index(path)):
                return self._home(request, path)
            index = self._satellite.is_index(path) and self._hosts.is_well_formed(host)
            if satellite_call or index:
                return await self._satellite.handle(request, remote)
            if name is None:
                return plain_answer(421)
        try:
            standing = self._service.standing(name)
        except BusyError as error:
            _log.error("registry-not-read", reason=str(error))
            raise UnacceptableError(503) from None
        if path == EVENTS and request.method == "GET":
            return await self._service.waiting.stream(request, name)
        if is_reserved(path):
            return self._pages.reserved(request, path, standing)
        if standing.state != "ready" and satellite_call:
            return await self._satellite.handle(request, remote)
        if standing.state == "ready" and self._routes_are_ours:  # the route came back meanwhile
            raise UnacceptableError(503)
        # With a route, an engine sends a request here if the notebook did not answer.
        return self._pages.page(request, unanswered(standing))

    def _home(self, request: web.BaseRequest, path: str) -> web.Response:
        """Answer at the domain itself, which has no notebook."""
        if request.method not in ("GET", "HEAD"):
            return plain_answer(405)
        if path == "/favicon.ico":
            return self._pages.asset(ICON)
        if path.startswith(PREFIX):
            return self._pages.asset(path.removeprefix(PREFIX))
        return self._pages.page(request, PageState("home" if path == "/" else "nothing-here"))
