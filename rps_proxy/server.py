"""The listener: one port, TLS, and each request sent where its Host says."""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import signal
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web

from rps_core.errors import ServiceError
from rps_core.log import get_logger
from rps_proxy import tls
from rps_proxy.admin import Admin, admin_socket
from rps_proxy.api import Api, error_response
from rps_proxy.cgi import Cgi
from rps_proxy.engine import (
    LONGEST_LINE,
    MOST_FIELDS,
    Forwarder,
    NotAnsweringError,
    UnacceptableError,
)
from rps_proxy.engines import CALLER, LEAVES_WEBSOCKETS, Engine
from rps_proxy.engines.external import engine_socket, external
from rps_proxy.files import own_directory
from rps_proxy.group_commit import RefusedError
from rps_proxy.hosts import MANAGEMENT, Hosts
from rps_proxy.networks import plain
from rps_proxy.pages import OURS, Pages, is_reserved
from rps_proxy.routes import Route, Routes
from rps_proxy.service import Service, only_one
from rps_proxy.settings import Settings

BACKLOG = 1024
IDLE_CONNECTION = 75.0  # seconds without a request, or with half a head

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
            response = _plain(refusal.status)
        except ConnectionError:
            raise  # the client went away
        except Exception:  # noqa: BLE001 - a defect must cost its own request alone, and be seen
            _log.exception("defect")
            response = _plain(500)
        if isinstance(response, web.Response):  # ours, and not yet on its way
            for name, value in self._headers.items():
                response.headers.setdefault(name, value)
        return response

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        hosts = request.headers.getall("Host", ())
        path = request.raw_path
        if len(hosts) != 1 or not path.startswith("/"):
            return _plain(400)
        if not hosts[0].isascii():  # lower() makes an ASCII k of the Kelvin sign
            return _plain(421)
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
            return _plain(421)
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


class _Connection(web.RequestHandler):
    """aiohttp's side of a connection, but its own error pages say nothing of the request."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002 - aiohttp's signature
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("broken off within an answer")
        response = _plain(status)
        response.force_close()
        return response


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # None turns it off
            logger=_silent_logger(),
            auto_decompress=False,
            keepalive_timeout=IDLE_CONNECTION,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            max_headers=MOST_FIELDS,
        )


async def serve(
    settings: Settings,
    *,
    listener: socket.socket | None = None,
    ready: Callable[[int], None] | None = None,
) -> None:
    """Run the service until SIGTERM, SIGINT, or its idle time.

    With the embedded engine it listens where the settings say, or on `listener`, a bound socket; else on
    a Unix socket, and the engine where the settings say. `ready` is called with the port once requests
    are taken.

    Raises:
        ServiceError: the directory, the port or the engine cannot be had.
        UsageError: the certificate cannot be used.
    """
    directory = own_directory(settings.service_directory)
    with only_one(directory), admin_socket(settings.admin.socket, directory) as admin_listener:
        front = tls.front(settings, directory)
        authority = tls.upstream_authority(settings, directory)
        if settings.engine_kind == "embedded":
            listener = listener or listen(settings.listen.address, settings.listen.port)
            port = listener.getsockname()[1]
        else:
            port = settings.listen.port
        _raise_file_limit()
        hosts = Hosts(settings.domain, settings.listen.public_port or port)
        context = tls.upstream_context(authority)
        websocket = settings.websocket
        routes = Routes(hosts, context, settings.upstream.connect_timeout)
        carries = routes, Forwarder(websocket.ping_every, websocket.dead_after)
        engine: Engine = routes
        if listener is None:
            engine = external(settings, front.pem(), authority.certificate, routes)
            front.told = engine.certificate
        service = Service(settings, directory, hosts, engine)
        await service.start()
        kind = settings.engine_kind
        dispatcher = Dispatcher(
            service,
            Api(service, authority),
            carries if kind in LEAVES_WEBSOCKETS else None,
            behind=kind != "embedded",
        )
        # A client that goes away ends what was done for it.
        server = _Server(dispatcher.handle, handler_cancellation=True)
        loop = asyncio.get_running_loop()
        if listener is not None:
            accepting = await loop.create_server(
                server, sock=listener, ssl=front.context, backlog=BACKLOG
            )
        else:
            accepting = await loop.create_unix_server(
                server, sock=engine_socket(settings), backlog=BACKLOG
            )
        administering = await loop.create_unix_server(
            web.Server(Admin(service, front).handle, access_log=None), sock=admin_listener
        )
        _log.info("listening", address=settings.listen.address, port=port, domain=settings.domain,
                  engine=kind)  # fmt: skip
        if ready is not None:
            ready(port)
        try:
            await _until_told_to_stop(service.run(), front.watch())
        finally:
            accepting.close()
            administering.close()
            service.close()
            await server.shutdown(timeout=1)
            await accepting.wait_closed()
            _log.info("stopped")


async def _until_told_to_stop(*tasks: Coroutine[Any, Any, None]) -> None:
    """Run `tasks` until a signal comes or one of them ends; the failure of one is raised."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    running = [loop.create_task(task) for task in (told.wait(), *tasks)]
    try:
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        for task in running:
            task.cancel()
        ends = await asyncio.gather(*running, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end


def listen(address: str, port: int) -> socket.socket:
    """A bound socket.

    Raises:
        ServiceError: the address or port cannot be had; its cause is the OSError.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Lets a restarted service have its port back while old connections are still closing.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address != "::")
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        hint = {
            errno.EADDRINUSE: "Another program has that port: stop it, or choose another "
            "(`listen.port`; `ss -tlnp` shows who listens where).",
            errno.EACCES: "Ports below 1024 are for root, or for a program with "
            "CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=).",
        }.get(error.errno or 0, "Check `listen.address` and `listen.port`.")
        raise ServiceError(
            f"The service cannot listen on {address}, port {port}: {error.strerror}", hint
        ) from error
    return listener


def _raise_file_limit() -> None:
    """A websocket takes two descriptors; the usual 1,024 are soon gone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _silent_logger() -> logging.Logger:
    """aiohttp would log each malformed request of each scanner; defects are logged by us."""
    logger = logging.getLogger("rps.http")
    logger.disabled = True
    return logger


def _plain(status: int) -> web.Response:
    """A line of text that says nothing of the request."""
    texts = {400: "Bad request", 403: "Refused", 421: "Not served here", 503: "Try again"}
    response = web.Response(status=status, text=f"{texts.get(status, 'Internal error')}\n")
    response.headers.update(OURS)
    response.force_close()
    return response
