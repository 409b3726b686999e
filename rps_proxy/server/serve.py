"""The service: its parts put together, and run until it is stopped."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from rps_core.log import get_logger
from rps_proxy.api.admin import Admin, admin_socket
from rps_proxy.api.rest import Api
from rps_proxy.control.counters import Counters
from rps_proxy.control.munge import Munge
from rps_proxy.control.readiness import Readiness
from rps_proxy.control.service import Service
from rps_proxy.hostnames import MANAGEMENT, Hosts
from rps_proxy.http.listeners import raise_file_limit
from rps_proxy.http.server import HttpServer
from rps_proxy.lock import only_one
from rps_proxy.pages.appearance import logged_appearance
from rps_proxy.pages.render import Pages
from rps_proxy.private_files import own_directory
from rps_proxy.server.topologies import Ground, Parts, Topology, choose
from rps_proxy.settings.model import Settings
from rps_proxy.tls import front as tls

_log = get_logger("rps.server")


async def serve(
    settings: Settings,
    *,
    topology: Topology | None = None,
    ready: Callable[[int], None] | None = None,
) -> None:
    """Run the service until SIGTERM, SIGINT, or its idle time.

    Clients connect where the settings say, or as the `topology` has it. `ready` is called with the port once
    requests are taken.

    Raises:
        ServiceError: the directory, the port or the engine cannot be had.
        UsageError: the certificate cannot be used.
    """
    directory = own_directory(settings.service_directory)
    async with AsyncExitStack() as stack:
        lock = stack.enter_context(only_one(directory))
        admin_listener = stack.enter_context(admin_socket(settings.admin_socket))
        front = tls.front(settings, directory)
        authority = tls.upstream_authority(settings, directory)
        topology = topology or choose(settings)
        raise_file_limit()  # which workers inherit
        hosts = Hosts(
            settings.domain,
            settings.listen.public_port or topology.port,
            tunnelled=topology.tunnelled,
        )
        counters = Counters()
        pages = Pages(*logged_appearance(settings))
        ground = Ground(
            settings, directory, lock, hosts, front, authority.certificate, counters, pages, stack
        )
        engine = await topology.start_engine(ground)
        service = Service(settings, directory, hosts, engine, counters, pages.catalogue)
        munge = None
        if settings.auth == "munge":
            munge = Munge(settings.munge, hosts.host(MANAGEMENT))
            await munge.answers()  # log a start without the daemon
        readiness = Readiness(service, front, munge)
        await service.start()
        api = Api(service, authority, readiness, munge, closed=topology.tunnelled)
        parts = Parts(service, api)
        listening = await topology.accept(ground, parts)
        admin = HttpServer(Admin(service, front, readiness).handle)
        loop = asyncio.get_running_loop()
        administering = await loop.create_unix_server(admin, sock=admin_listener)
        _log.info(
            "listening",
            address=settings.listen.address,
            port=topology.port,
            domain=settings.domain,
            engine=settings.engine_kind,
        )
        if ready is not None:
            ready(topology.port)
        try:
            await _until_stopped(*service.tasks(), front.watch(), *listening.work)
        finally:
            listening.close()
            administering.close()
            service.waiting.close()
            topology.end_traffic()
            await asyncio.gather(listening.end(1), admin.shutdown(timeout=1))
            await service.end()
            _log.info("stopped")


async def _until_stopped(*tasks: Coroutine[Any, Any, None]) -> None:
    """Run `tasks` until a signal comes or one of them ends; raise its failure."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = [loop.create_task(task) for task in (stop.wait(), *tasks)]
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
