"""What each request comes through first: its Host says whether a notebook answers, or somebody else."""

from __future__ import annotations

from abc import ABC, abstractmethod

from aiohttp import web

from rps_core.log import get_logger
from rps_proxy.engine import Forwarder, NotAnsweringError, UnacceptableError
from rps_proxy.engines import CALLER
from rps_proxy.listener import plain_answer
from rps_proxy.networks import plain
from rps_proxy.pages import OURS, Pages, is_reserved
from rps_proxy.routes import Route, Routes
from rps_proxy.standing import Standing

_log = get_logger("rps.server")


class Entry(ABC):
    """Sends a request to its notebook where there is a route, else to `_elsewhere`.

    `behind` an engine with a life of its own, or a worker, the caller is who that says it is (`CALLER`),
    which is believed of a Unix socket alone. `strict_transport` is as in `Settings`.
    """

    def __init__(
        self,
        embedded: tuple[Routes, Forwarder] | None,
        strict_transport: str | None,
        *,
        behind: bool,
    ) -> None:
        self._embedded = embedded
        self._behind = behind
        self._pages = Pages()
        self._headers = dict(OURS)
        if strict_transport:
            self._headers["Strict-Transport-Security"] = strict_transport

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

    @abstractmethod
    async def _elsewhere(
        self, request: web.BaseRequest, host: str, remote: str
    ) -> web.StreamResponse:
        """Answer a request for `host` (the Host header, lower-cased) that is for no notebook."""

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
        return await self._elsewhere(request, host, remote)

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
            return self._pages.page(request, Standing("not-answering"))
        route.answers = True
        return response
