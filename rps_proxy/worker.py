"""A worker process of the embedded engine: `python -m rps_proxy.worker CHANNEL LISTENER`, descriptors.

Started by `engines.workers` alone. It carries what there is a route for, and hands all else to the service.
It knows of routes what the service tells it over the channel, and ends with the service, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.client_proto import ResponseHandler

from rps_core.log import configure, get_logger
from rps_core.node.agent.processes import PR_SET_PDEATHSIG, prctl
from rps_proxy.channel import Begin, message, receive
from rps_proxy.contexts import Shown, context_from_memory, upstream_context
from rps_proxy.engine import Forwarder, NotAnsweringError, UnacceptableError
from rps_proxy.engines import CALLER, Target, Traffic
from rps_proxy.entry import Entry
from rps_proxy.hosts import Hosts
from rps_proxy.listener import BACKLOG, HttpServer
from rps_proxy.routes import Route, Routes
from rps_proxy.unix_socket import short_path
from rps_proxy.upstream import Pool, UnreachableError

_SERVICE = "service"  # no session's name: those have three words

_log = get_logger("rps.worker")


class _DoorPool(Pool):
    """The connections to the service: over a Unix socket, which proves who is there."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__(_SERVICE, path, 0, None, timeout)
        self._path = Path(path)

    async def connect(self) -> ResponseHandler:
        """A new connection; see `Pool.connect`."""
        loop = asyncio.get_running_loop()
        try:
            with short_path(self._path) as short:
                _, connection = await loop.create_unix_connection(
                    lambda: ResponseHandler(loop), short
                )
        except OSError as error:
            raise UnreachableError(error.strerror or str(error)) from error
        return connection


class _Door(Route):
    """The way to the service, which has no websockets and believes us who calls."""

    websockets = False

    def provenance(self, remote: str) -> Sequence[bytes]:
        """What is said of the client: its address."""
        return (f"{CALLER}: {remote}".encode(),)


class _Worker(Entry):
    """One worker, from its `Begin` on."""

    def __init__(self, begin: Begin, listener: socket.socket) -> None:
        hosts = Hosts(begin.domain, begin.public_port)
        upstream = upstream_context(begin.upstream_ca.encode())
        self._routes = Routes(hosts, upstream, begin.connect_timeout)
        self._forwarder = Forwarder(begin.ping_every, begin.dead_after, begin.strict_transport)
        super().__init__((self._routes, self._forwarder), begin.strict_transport, behind=False)
        pool = _DoorPool(begin.door, begin.connect_timeout)
        self._door = _Door(_SERVICE, _SERVICE, _SERVICE, pool)
        self._shown = Shown(context_from_memory(begin.certificate.encode()))
        self._listener = listener
        self._server = HttpServer(self.handle)
        self._accepting: asyncio.Server | None = None

    async def carry_out(self, call: str, arguments: dict[str, Any]) -> None:
        """One call of the service's; see `engines.workers`."""
        match call:
            case "change":
                for name in arguments["gone"]:
                    self._routes.take_out(name)
                for fields in arguments["new"]:
                    await self._routes.add(Target(**fields))
            case "certificate":
                self._shown.current = context_from_memory(arguments["pem"].encode())
            case "sweep":
                self._routes.sweep()
                self._door.pool.sweep()
            case "listen":
                self._accepting = await asyncio.get_running_loop().create_server(
                    self._server, sock=self._listener, ssl=self._shown.context, backlog=BACKLOG
                )
            case _:
                raise ValueError(f"no such call: {call}")

    async def traffic(self) -> Traffic:
        """See `Engine`."""
        return await self._routes.traffic()

    async def close(self) -> None:
        """End what is under way, and say so where websockets allow it."""
        if self._accepting is not None:
            self._accepting.close()
        self._routes.close()
        await self._server.end(1)
        self._door.end()

    async def _elsewhere(
        self,
        request: web.BaseRequest,
        host: str,  # noqa: ARG002 - the service looks for itself
        remote: str,
    ) -> web.StreamResponse:
        try:
            response = await self._forwarder.forward(request, self._door, remote)
        except NotAnsweringError as error:
            if self._door.answers:  # said once
                _log.warning("service-not-answering", reason=str(error))
                self._door.answers = False
            raise UnacceptableError(503) from None
        self._door.answers = True
        return response


async def run(channel: socket.socket, listener: socket.socket) -> None:
    """Do as the service says, until it says no more."""
    reader, writer = await asyncio.open_connection(sock=channel)
    worker: _Worker | None = None
    while (call := await receive(reader)) is not None:
        name, error = call.pop("call"), None
        try:
            if worker is None:
                begin = Begin(**call)
                verbosity = {"warning": 0, "info": 1, "debug": 2}[begin.log_level]
                configure(verbosity=verbosity, log_format=begin.log_format)
                worker = _Worker(begin, listener)
            elif name == "stop":
                break
            else:
                await worker.carry_out(name, call)
        except Exception as defect:  # noqa: BLE001 - told to the service, which sees to it
            _log.exception("defect")
            error = f"{type(defect).__name__}: {defect}"
        traffic = Traffic() if worker is None else await worker.traffic()
        writer.write(message({"error": error, "traffic": asdict(traffic)}))
    if worker is not None:
        await worker.close()
    writer.close()


def main(channel: int, listener: int) -> None:
    """Work on these descriptors."""
    # What is sent to all of us (Ctrl-C, systemd) is for the service, which then tells its workers.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # It ends one that is stopped, too. Where there is no such thing, the channel's end is noticed.
    with contextlib.suppress(OSError, ImportError):
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    import uvloop

    os.umask(0o077)
    uvloop.run(run(socket.socket(fileno=channel), socket.socket(fileno=listener)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
