"""The service: its parts put together, and run until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from aiohttp import web

from rps_core.log import get_logger
from rps_proxy import tls
from rps_proxy.admin import Admin, admin_socket
from rps_proxy.api import Api
from rps_proxy.channel import Begin
from rps_proxy.contexts import upstream_context
from rps_proxy.dispatch import Dispatcher
from rps_proxy.engine import Forwarder
from rps_proxy.engines import LEAVES_WEBSOCKETS, Engine
from rps_proxy.engines.external import engine_directory, engine_socket, external
from rps_proxy.engines.workers import DOOR_FILE, Workers
from rps_proxy.files import own_directory
from rps_proxy.holding import only_one
from rps_proxy.hosts import MANAGEMENT, Hosts
from rps_proxy.listener import BACKLOG, HttpServer, listen, listen_together, raise_file_limit
from rps_proxy.munge import Munge
from rps_proxy.readiness import Readiness
from rps_proxy.routes import Routes
from rps_proxy.service import Service
from rps_proxy.settings import Settings
from rps_proxy.unix_socket import private_socket

_log = get_logger("rps.server")


async def serve(
    settings: Settings,
    *,
    listener: socket.socket | None = None,
    ready: Callable[[int], None] | None = None,
) -> None:
    """Run the service until SIGTERM, SIGINT, or its idle time.

    With the embedded engine it listens where the settings say, or on `listener`, a bound socket; else it
    does on a Unix socket, and the engine, or the workers, where the settings say. `ready` is called with
    the port once requests are taken.

    Raises:
        ServiceError: the directory, the port or the engine cannot be had.
        UsageError: the certificate cannot be used.
    """
    directory = own_directory(settings.service_directory)
    async with AsyncExitStack() as stack:
        lock = stack.enter_context(only_one(directory))
        admin_listener = stack.enter_context(admin_socket(settings.admin.socket, directory))
        front = tls.front(settings, directory)
        authority = tls.upstream_authority(settings, directory)
        listeners = [listener] if listener is not None else _listeners(settings)
        port = listeners[0].getsockname()[1] if listeners else settings.listen.port
        raise_file_limit()  # which workers inherit
        hosts = Hosts(settings.domain, settings.listen.public_port or port)
        context = upstream_context(authority.certificate)
        websocket = settings.websocket
        routes = Routes(hosts, context, settings.upstream.connect_timeout)
        carries = (
            routes,
            Forwarder(websocket.ping_every, websocket.dead_after, settings.strict_transport),
        )
        engine: Engine = routes
        workers: Workers | None = None
        if not listeners:
            # Two services with neighbouring directories have the same one by default.
            stack.enter_context(only_one(engine_directory(settings), "engine_directory"))
            engine = external(settings, front.pem(), authority.certificate, routes)
            front.told = engine.certificate
        elif len(listeners) > 1:
            begin = _begin(
                settings, hosts, directory / DOOR_FILE, front.pem(), authority.certificate
            )
            workers = Workers(begin, listeners, lock)
            engine = await stack.enter_async_context(workers)
            front.told = engine.certificate
        service = Service(settings, directory, hosts, engine)
        munge = None
        if settings.auth == "munge":
            munge = Munge(settings.munge, hosts.host(MANAGEMENT))
            await munge.answers()  # who starts the service reads at once that it does not
        readiness = Readiness(service, lambda: front.expires, munge)
        await service.start()
        kind = settings.engine_kind
        dispatcher = Dispatcher(
            service,
            Api(service, authority, readiness, munge),
            carries if kind in LEAVES_WEBSOCKETS and workers is None else None,
            behind=len(listeners) != 1,
        )
        server = HttpServer(dispatcher.handle)
        loop = asyncio.get_running_loop()
        if len(listeners) == 1:
            accepting = await loop.create_server(
                server, sock=listeners[0], ssl=front.context, backlog=BACKLOG
            )
        else:
            door = (
                engine_socket(settings)
                if workers is None
                else stack.enter_context(private_socket(directory / DOOR_FILE, "See `directory`."))
            )
            accepting = await loop.create_unix_server(server, sock=door, backlog=BACKLOG)
        if workers is not None:
            workers.note_end = lambda: service.counters.count("worker-ends")
            await workers.listen()
        admin = web.Server(Admin(service, front, readiness).handle, access_log=None)
        administering = await loop.create_unix_server(admin, sock=admin_listener)
        _log.info("listening", address=settings.listen.address, port=port, domain=settings.domain,
                  engine=kind)  # fmt: skip
        if ready is not None:
            ready(port)
        try:
            await _until_told_to_stop(*service.tasks(), front.watch())
        finally:
            accepting.close()
            administering.close()
            service.waiting.close()
            routes.close()  # what is under way ends; calls of the API that are get their answer
            await asyncio.gather(server.end(1), admin.shutdown(timeout=1))
            await service.end()
            await accepting.wait_closed()
            _log.info("stopped")


def _listeners(settings: Settings) -> list[socket.socket]:
    """What clients come in by: a socket for each process that takes them; none with other engines."""
    listen_on, number = settings.listen, settings.worker_count
    if settings.engine_kind != "embedded":
        return []
    if number == 1:
        return [listen(listen_on.address, listen_on.port)]
    return listen_together(listen_on.address, listen_on.port, number)


def _begin(
    settings: Settings, hosts: Hosts, door: Path, certificate: bytes, upstream_ca: bytes
) -> Begin:
    return Begin(
        domain=hosts.domain,
        public_port=hosts.port,
        connect_timeout=settings.upstream.connect_timeout,
        ping_every=settings.websocket.ping_every,
        dead_after=settings.websocket.dead_after,
        strict_transport=settings.strict_transport,
        log_level=settings.log.level,
        log_format=settings.log.format,
        door=str(door),
        upstream_ca=upstream_ca.decode(),
        certificate=certificate.decode(),
    )


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
