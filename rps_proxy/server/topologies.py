"""Topologies: the service's process, its workers, a separate engine, or ssh's end listens.

Each topology binds what it listens on first, since the port is part of every URL, then has its engine, and
takes requests last.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rps_proxy.api.file_calls import FileCalls
from rps_proxy.api.rest import Api
from rps_proxy.control.counters import Counters
from rps_proxy.control.service import Service
from rps_proxy.engine import Engine
from rps_proxy.engines.embedded.entry import RequestHandler
from rps_proxy.engines.embedded.forwarder import Forwarder
from rps_proxy.engines.embedded.routes import Routes
from rps_proxy.engines.external import engine_directory, engine_socket, external
from rps_proxy.engines.workers.channel import Begin
from rps_proxy.engines.workers.pool import DOOR_FILE, Workers
from rps_proxy.hostnames import Hosts
from rps_proxy.http.door import CallerFieldConnection, ProxyProtocolConnection
from rps_proxy.http.limits import Accepting, most_of_one_address
from rps_proxy.http.listeners import listen, listen_together
from rps_proxy.http.redirect import Redirects
from rps_proxy.http.server import Connection, HttpServer, OwnSocketConnection
from rps_proxy.http.unix_socket import private_socket
from rps_proxy.lock import only_one
from rps_proxy.pages.render import Pages
from rps_proxy.server.dispatch import ApiAlone, Dispatcher, NoManagement
from rps_proxy.settings.model import Settings
from rps_proxy.tls.contexts import upstream_context
from rps_proxy.tls.front import Front

Embedded = tuple[Routes, Forwarder]


@dataclass(frozen=True, slots=True)
class Ground:
    """What a topology is built on.

    `directory` is the service's and `lock` its locked descriptor, which workers inherit. `upstream_ca` is
    PEM. What `stack` has is undone last.
    """

    settings: Settings
    directory: Path
    lock: int
    hosts: Hosts
    front: Front
    upstream_ca: bytes
    counters: Counters
    pages: Pages
    stack: AsyncExitStack


@dataclass(frozen=True, slots=True)
class Parts:
    """What answers requests that have no route."""

    service: Service
    api: Api


class Listening:
    """Listeners, each with the server of its requests; `work` goes on beside them."""

    def __init__(
        self,
        *pairs: tuple[Accepting, HttpServer],
        work: Sequence[Coroutine[Any, Any, None]] = (),
    ) -> None:
        self._pairs = pairs
        self.work = work

    def close(self) -> None:
        """Take no further connections."""
        for accepting, _ in self._pairs:
            accepting.close()

    async def end(self, seconds: float) -> None:
        """Wait `seconds` for calls under way, then close all connections."""
        await asyncio.gather(*(server.end(seconds) for _, server in self._pairs))


class Topology(Protocol):
    """One arrangement of listener, engine and service, on a bound socket."""

    port: int  # of the clients' listener
    tunnelled: bool  # as `Hosts` has it

    async def start_engine(self, ground: Ground) -> Engine:
        """Return the engine, which takes changes of routes from now on.

        Raises:
            ServiceError: its directory cannot be used, or it does not start.
        """

    async def accept(self, ground: Ground, parts: Parts) -> Listening:
        """Take requests from now on.

        Raises:
            ServiceError: a socket cannot be bound, or a worker cannot listen.
        """

    def end_traffic(self) -> None:
        """Close what this process carries; calls of the API still get their answers."""


class InProcess:
    """The embedded engine in the service's process, which clients connect to."""

    tunnelled = False

    def __init__(self, listener: socket.socket) -> None:
        self.port: int = listener.getsockname()[1]
        self._embedded: Embedded | None = None
        self._listener = listener

    async def start_engine(self, ground: Ground) -> Engine:
        """See `Topology`."""
        self._embedded = _embedded(ground)
        return self._embedded[0]

    async def accept(self, ground: Ground, parts: Parts) -> Listening:
        """See `Topology`."""
        server = _server(ground, Dispatcher(parts.service, parts.api, ground.pages, self._embedded))
        return Listening(
            (_accepting_tls(ground, self._listener, server), server), *_redirects(ground)
        )

    def end_traffic(self) -> None:
        """See `Topology`."""
        _end(self._embedded)


class Tunnelled:
    """The embedded engine in the service's process, which browsers reach by a Unix socket.

    ssh forwards it, and only its owner can connect. It answers for sessions alone, over plain HTTP. Launcher
    and agents call the API at `listener`, over TLS, which answers for nothing else. Agents that do not
    reach it make their calls as files in the directories of `sessions`.
    """

    tunnelled = True

    def __init__(self, listener: socket.socket, browsers: Path, sessions: Path) -> None:
        self.port: int = listener.getsockname()[1]
        self._embedded: Embedded | None = None
        self._listener = listener
        self._browsers = browsers
        self._sessions = sessions

    async def start_engine(self, ground: Ground) -> Engine:
        """See `Topology`."""
        self._embedded = _embedded(ground)
        return self._embedded[0]

    async def accept(self, ground: Ground, parts: Parts) -> Listening:
        """See `Topology`."""
        socket_file = ground.stack.enter_context(private_socket(self._browsers, "See its log."))
        handler = Dispatcher(parts.service, NoManagement(), ground.pages, self._embedded)
        sessions = _server(ground, handler, OwnSocketConnection)
        api = _server(ground, ApiAlone(parts.service, parts.api, ground.pages))
        files = FileCalls(parts.service, parts.api, self._sessions, ground.directory)
        return Listening(
            (Accepting(socket_file, sessions), sessions),
            (_accepting_tls(ground, self._listener, api), api),
            work=[files.run()],
        )

    def end_traffic(self) -> None:
        """See `Topology`."""
        _end(self._embedded)


class InWorkers:
    """The embedded engine in workers; requests without a route go to a Unix socket."""

    tunnelled = False

    def __init__(self, listeners: list[socket.socket]) -> None:
        self.port: int = listeners[0].getsockname()[1]
        self._listeners = listeners
        self._workers: Workers | None = None

    async def start_engine(self, ground: Ground) -> Engine:
        """See `Topology`; the workers do not listen yet."""
        workers = Workers(_begin(ground), self._listeners, ground.lock, ground.counters)
        self._workers = await ground.stack.enter_async_context(workers)
        ground.front.notify = self._workers.certificate
        return self._workers

    async def accept(self, ground: Ground, parts: Parts) -> Listening:
        """See `Topology`."""
        if self._workers is None:
            raise RuntimeError("accept comes after start_engine")
        door = private_socket(ground.directory / DOOR_FILE, "See `directory`.")
        server = _server(
            ground, Dispatcher(parts.service, parts.api, ground.pages), ProxyProtocolConnection
        )
        accepting = Accepting(ground.stack.enter_context(door), server)
        await self._workers.listen()
        return Listening((accepting, server), *_redirects(ground))

    def end_traffic(self) -> None:
        """Do nothing: the workers end with the engine."""


class BesideEngine:
    """HAProxy or Apache, which clients connect to; it reaches a Unix socket here."""

    tunnelled = False

    def __init__(self, settings: Settings) -> None:
        self.port = settings.listen.port
        apache = settings.engine_kind == "apache"
        self._connection: type[Connection] = (
            CallerFieldConnection if apache else ProxyProtocolConnection
        )
        self._embedded: Embedded | None = None
        self._leaves_websockets = apache

    async def start_engine(self, ground: Ground) -> Engine:
        """See `Topology`; the engine itself need not run."""
        settings, front = ground.settings, ground.front
        # Two services with neighbouring directories have the same one by default.
        ground.stack.enter_context(only_one(engine_directory(settings), "engine_directory"))
        embedded = _embedded(ground)
        if self._leaves_websockets:
            self._embedded = embedded
        engine = external(settings, front.in_use.pem, ground.upstream_ca, embedded[0], ground.pages)
        front.notify = engine.certificate
        return engine

    async def accept(self, ground: Ground, parts: Parts) -> Listening:
        """See `Topology`."""
        handler = Dispatcher(parts.service, parts.api, ground.pages, self._embedded)
        server = _server(ground, handler, self._connection)
        return Listening((Accepting(engine_socket(ground.settings), server), server))

    def end_traffic(self) -> None:
        """See `Topology`."""
        _end(self._embedded)


def choose(settings: Settings) -> Topology:
    """Bind what clients connect to, as an operator's service has it.

    Raises:
        ServiceError: the address or port is not available.
    """
    if settings.engine_kind != "embedded":
        return BesideEngine(settings)
    address, port, number = settings.listen.address, settings.listen.port, settings.worker_count
    if number == 1:
        return InProcess(listen(address, port))
    return InWorkers(listen_together(address, port, number))


def _server(
    ground: Ground, handler: RequestHandler, connection: type[Connection] = Connection
) -> HttpServer:
    return HttpServer(
        handler.handle, connection, ground.settings.advanced.head_time, handler.head_too_large
    )


def _accepting_tls(ground: Ground, listener: socket.socket, server: HttpServer) -> Accepting:
    settings = ground.settings
    return Accepting(
        listener,
        server,
        context=ground.front.context,
        hello_time=settings.advanced.hello_time,
        per_address=most_of_one_address(settings.clients.connections_per_address),
    )


def _redirects(ground: Ground) -> list[tuple[Accepting, HttpServer]]:
    """Take plain HTTP in this process, if there is a port for it."""
    settings = ground.settings
    if settings.listen.redirect_port is None:
        return []
    server = HttpServer(Redirects(ground.hosts).handle, head_time=settings.advanced.head_time)
    accepting = Accepting(
        listen(settings.listen.address, settings.listen.redirect_port),
        server,
        per_address=most_of_one_address(settings.clients.connections_per_address),
    )
    return [(accepting, server)]


def _embedded(ground: Ground) -> Embedded:
    settings = ground.settings
    context = upstream_context(ground.upstream_ca)
    routes = Routes(ground.hosts, context, settings.advanced.connect_timeout)
    forwarder = Forwarder(
        settings.websocket.ping_every,
        settings.advanced.websocket_dead_after,
        settings.strict_transport,
        settings.clients.stall_time,
    )
    return routes, forwarder


def _end(embedded: Embedded | None) -> None:
    if embedded is not None:
        embedded[0].close()


def _begin(ground: Ground) -> Begin:
    settings = ground.settings
    clients = settings.clients
    return Begin(
        domain=ground.hosts.domain,
        public_port=ground.hosts.port,
        connect_timeout=settings.advanced.connect_timeout,
        ping_every=settings.websocket.ping_every,
        dead_after=settings.advanced.websocket_dead_after,
        hello_time=settings.advanced.hello_time,
        head_time=settings.advanced.head_time,
        stall_time=clients.stall_time,
        connections_per_address=most_of_one_address(
            clients.connections_per_address, settings.worker_count
        ),
        strict_transport=settings.strict_transport,
        appearance=ground.pages.appearance.sent(),
        log_level=settings.log.level,
        log_format=settings.log.format,
        door=str(ground.directory / DOOR_FILE),
        upstream_ca=ground.upstream_ca.decode(),
        certificate=ground.front.in_use.pem.decode(),
    )
