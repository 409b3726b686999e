"""Who answers a request: the API, a notebook, or a page. Its Host says it."""

from __future__ import annotations

from aiohttp import web

from rps_core.log import get_logger
from rps_proxy.api import Api, error_response
from rps_proxy.cgi import Cgi
from rps_proxy.engine import Forwarder, NotAnsweringError, UnacceptableError
from rps_proxy.engines import CALLER
from rps_proxy.group_commit import RefusedError
from rps_proxy.hosts import MANAGEMENT
from rps_proxy.listener import plain_answer
from rps_proxy.networks import plain
from rps_proxy.pages import OURS, Pages, is_reserved
from rps_proxy.routes import Route, Routes
from rps_proxy.service import Service

_log = get_logger("rps.server")


class Dispatcher:
    """Decides by the Host header who answers: the API, a notebook, or a page.

    `behind` an engine with a life of its own, the caller is who that says it is (`CALLER`), which is
    believed of the Unix socket alone. One that leaves websockets to us has `embedded` routes here too;
    with others, what comes has none.
    """

    def __init__(
        self,
        service: Service,
        api: Api,
        embedded: tuple[Routes, Forwarder] | None = None,
        *,
        behind: bool = False,
    ) -> None:
        self._service = service
        self._hosts = service.hosts
        self._api = api
        self._cgi = Cgi(service)
        self._embedded = embedded
        self._behind = behind
        self._pages = Pages()
        self._headers = dict(OURS)
        if strict := service.settings.strict_transport:
            self._headers["Strict-Transport-Security"] = strict

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; the web.Server's handler."""
        try:
            response = await self._dispatch(request)
        except UnacceptableError as refusal:
            response = plain_answer(refusal.status)
        except ConnectionError:
            raise  # the client went away
        except Exception:  # noqa: BLE001 - a defect must cost its own request alone, and be seen
            _log.exception("defect")
            response = plain_answer(500)
        if isinstance(response, web.Response):  # ours, and not yet on its way
            for name, value in self._headers.items():
                response.headers.setdefault(name, value)
        return response

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        hosts = request.headers.getall("Host", ())
        path = request.raw_path
        if len(hosts) != 1 or not path.startswith("/"):
            return plain_answer(400)
        if not hosts[0].isascii():  # lower() makes an ASCII k of the Kelvin sign
            return plain_answer(421)
        host = hosts[0].lower()
        remote = self._caller(request)
        if self._embedded is not None and not is_reserved(path):
            routes, forwarder = self._embedded
            route = routes.find(host)
            if route is not None:
                return await self._forward(request, forwarder, route, remote)
        name = self._hosts.label(host)
        if name == MANAGEMENT:
            return await self._manage(request, remote)
        if name is None:
            if self._hosts.is_domain(host) and path == "/" and self._cgi.takes(path):
                return await self._cgi.handle(request, remote)
            return plain_answer(421)
        state = self._service.state(name)
        path = path.partition("?")[0]
        if is_reserved(path):
            return self._pages.reserved(request, path, state)
        if state == "ready" and self._embedded is not None:  # it came back while we looked
            raise UnacceptableError(503)
        # An engine sends us what it has a route for when the notebook did not answer.
        return self._pages.page(request, "not-answering" if state == "ready" else state)

    async def _manage(self, request: web.BaseRequest, remote: str) -> web.StreamResponse:
        if not self._cgi.takes(request.raw_path.partition("?")[0]):
            return await self._api.handle(request, remote)
        try:
            return await self._cgi.handle(request, remote)
        except RefusedError as refusal:
            return error_response(refusal.code)

    def _caller(self, request: web.BaseRequest) -> str:
        """The address that the request came from."""
        if not self._behind:
            if not request.remote:
                raise ConnectionResetError  # it went away before we came to it
            return plain(request.remote)
        callers = request.headers.getall(CALLER, ())
        if len(callers) != 1:
            raise UnacceptableError(400)  # not from the engine, or from one that is set up wrongly
        try:
            return plain(callers[0])
        except ValueError:
            raise UnacceptableError(400) from None

    async def _forward(
        self, request: web.BaseRequest, forwarder: Forwarder, route: Route, remote: str
    ) -> web.StreamResponse:
        try:
            response = await forwarder.forward(request, route, remote)
        except NotAnsweringError as error:
            if route.answers:  # said once, not for each request of a page
                _log.warning("not-answering", session=route.name, reason=str(error))
                route.answers = False
            return self._pages.page(request, "not-answering")
        route.answers = True
        return response
