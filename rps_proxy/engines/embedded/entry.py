"""Dispatch of each request by its Host: to a notebook, or elsewhere."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from aiohttp import web

from rps_core.log import get_logger
from rps_proxy.engines.embedded.exchange import NotAnsweringError, UnacceptableError
from rps_proxy.engines.embedded.forwarder import Forwarder
from rps_proxy.engines.embedded.routes import Route, Routes
from rps_proxy.http.answers import OURS, plain_answer
from rps_proxy.http.heads import LONGEST_HEAD, head_size
from rps_proxy.http.origins import is_refused
from rps_proxy.networks import plain
from rps_proxy.pages.render import Pages, is_reserved
from rps_proxy.pages.state import PageState

REFUSALS_LOGGED_EVERY = 60.0  # seconds
_TOO_LARGE = PageState("too-large")

_log = get_logger("rps.server")


class RequestHandler(ABC):
    """Send a request to its notebook if there is a route, else to `_elsewhere`.

    `strict_transport` is as in `Settings`.
    """

    def __init__(
        self,
        embedded: tuple[Routes, Forwarder] | None,
        strict_transport: str | None,
        pages: Pages,
    ) -> None:
        self._embedded = embedded
        self._pages = pages
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
        except Exception:  # noqa: BLE001 - a defect is logged, and costs its own request alone
            _log.exception("defect")
            response = plain_answer(500)
        if isinstance(response, web.Response):  # of the service, and not sent yet
            for name, value in self._headers.items():
                response.headers.setdefault(name, value)
        return response

    def head_too_large(self) -> web.Response:
        """Answer a head that is too large to read, as with too many cookies."""
        return self._pages.in_html(_TOO_LARGE)

    @abstractmethod
    async def _elsewhere(
        self, request: web.BaseRequest, host: str, remote: str
    ) -> web.StreamResponse:
        """Answer a request without a route; `host` is the Host header, lower-cased."""

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        hosts = request.headers.getall("Host", ())
        path = request.raw_path
        if len(hosts) != 1 or not path.startswith("/") or request.method in ("CONNECT", "TRACE"):
            return plain_answer(400)
        if not hosts[0].isascii():  # lower() makes an ASCII k of the Kelvin sign
            return plain_answer(421)
        host = hosts[0].lower()
        # None: the client is gone, or a misconfigured engine does not name it (`http.door`).
        if request.remote is None:
            raise UnacceptableError(400)
        remote = plain(request.remote)
        size = head_size(request.method, path, request.raw_headers)
        if size > LONGEST_HEAD and not is_reserved(path):
            return self._pages.page(request, _TOO_LARGE)
        if self._embedded is not None and not is_reserved(path):
            routes, forwarder = self._embedded
            route = routes.find(host)
            if route is not None:
                return await self._forward(request, forwarder, route, remote)
        return await self._elsewhere(request, host, remote)

    async def _forward(
        self, request: web.BaseRequest, forwarder: Forwarder, route: Route, remote: str
    ) -> web.StreamResponse:
        if is_refused(request, route.origins(request.headers["Host"].lower())):
            self._note_refusal(request, route)
            refusal = self._pages.page(request, PageState("foreign-page", name=route.name))
            refusal.force_close()
            return refusal
        try:
            response = await forwarder.forward(request, route, remote)
        except NotAnsweringError as error:
            if route.answers:  # logged once, not for each request of a page
                _log.warning("not-answering", session=route.name, reason=str(error))
                route.answers = False
            standing = PageState("not-answering", satellite=route.pool.plain, name=route.name)
            return self._pages.page(request, standing)
        route.answers = True
        return response

    def _note_refusal(self, request: web.BaseRequest, route: Route) -> None:
        """Log a refusal, at most once a minute for each session."""
        now = time.monotonic()
        if now - route.refused >= REFUSALS_LOGGED_EVERY:
            route.refused = now
            origin = ascii(request.headers.get("Origin", ""))[:100]
            _log.warning("foreign-page", session=route.name, origin=origin)
