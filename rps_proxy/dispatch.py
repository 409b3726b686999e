"""Who answers what is for no notebook: the API, or a page. Its Host says it."""

from __future__ import annotations

from aiohttp import web

from rps_core.log import get_logger
from rps_proxy.api import Api, error_response
from rps_proxy.cgi import Cgi
from rps_proxy.engine import Forwarder, UnacceptableError
from rps_proxy.engines import LEAVES_WEBSOCKETS
from rps_proxy.entry import Entry
from rps_proxy.group_commit import BusyError, RefusedError
from rps_proxy.hosts import MANAGEMENT
from rps_proxy.listener import plain_answer
from rps_proxy.pages import EVENTS, is_reserved, unanswered
from rps_proxy.routes import Routes
from rps_proxy.service import Service

_log = get_logger("rps.dispatch")


class Dispatcher(Entry):
    """What the service itself answers; it has `embedded` routes where it carries traffic in its process."""

    def __init__(
        self,
        service: Service,
        api: Api,
        embedded: tuple[Routes, Forwarder] | None = None,
        *,
        behind: bool = False,
    ) -> None:
        super().__init__(embedded, service.settings.strict_transport, behind=behind)
        self._service = service
        self._hosts = service.hosts
        self._api = api
        self._cgi = Cgi(service)
        self._routes_are_ours = service.settings.engine_kind in LEAVES_WEBSOCKETS

    async def _elsewhere(
        self, request: web.BaseRequest, host: str, remote: str
    ) -> web.StreamResponse:
        path = request.raw_path
        name = self._hosts.label(host)
        if name == MANAGEMENT:
            return await self._manage(request, remote)
        if name is None:
            if self._hosts.is_domain(host) and path == "/" and self._cgi.takes(path):
                return await self._cgi.handle(request, remote)
            return plain_answer(421)
        try:
            standing = self._service.standing(name)
        except BusyError as error:
            _log.error("registry-not-read", reason=str(error))
            raise UnacceptableError(503) from None
        path = path.partition("?")[0]
        if path == EVENTS and request.method == "GET":
            return await self._service.waiting.stream(request, name)
        if is_reserved(path):
            return self._pages.reserved(request, path, standing)
        if standing.state == "ready" and self._routes_are_ours:  # it came back while we looked
            raise UnacceptableError(503)
        # An engine sends us what it has a route for when the notebook did not answer.
        return self._pages.page(request, unanswered(standing))

    async def _manage(self, request: web.BaseRequest, remote: str) -> web.StreamResponse:
        if not self._cgi.takes(request.raw_path.partition("?")[0]):
            return await self._api.handle(request, remote)
        try:
            return await self._cgi.handle(request, remote)
        except RefusedError as refusal:
            return error_response(refusal.code)
