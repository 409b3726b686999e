"""A worker process of the embedded engine.

`python -m rps_proxy.engines.workers.worker CHANNEL LISTENER`; both are descriptors.

Started by `engines.workers.process`. It carries requests that have a route and forwards all others to the
service, which sends it the routes over the channel. It ends when the service ends, also when that is killed.
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
from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_proto import ResponseHandler

from rps_core.log import configure, get_logger
from rps_core.node.agent.processes import PR_SET_PDEATHSIG, prctl
from rps_proxy.engine import Target, Traffic
from rps_proxy.engines.embedded.entry import RequestHandler
from rps_proxy.engines.embedded.exchange import NotAnsweringError
from rps_proxy.engines.embedded.forwarder import Forwarder
from rps_proxy.engines.embedded.routes import Endable, Route, Routes
from rps_proxy.engines.embedded.upstream import Pool, UnreachableError
from rps_proxy.engines.workers.channel import Begin, message, receive
from rps_proxy.hostnames import Hosts
from rps_proxy.http.limits import Accepting
from rps_proxy.http.proxy_protocol import header
from rps_proxy.http.server import HttpServer
from rps_proxy.http.unix_socket import short_path
from rps_proxy.pages.appearance import Appearance
from rps_proxy.pages.render import Pages
from rps_proxy.tls.contexts import SwappableContext, context_from_memory, upstream_context

_SERVICE = "service"  # no session's name: those have three words

_log = get_logger("rps.worker")


class _DoorPool(Pool):
    """Connections to the service, one a request, with the client in the PROXY header.

    The Unix socket is in the service's private directory, so it needs no TLS.
    """

    def __init__(self, path: Path, timeout: float, remote: str) -> None:
        super().__init__(_SERVICE, str(path), 0, None, timeout)
        self._path = path
        self._remote = remote

    async def connect(self) -> ResponseHandler:
        """Open a new connection; see `Pool.connect`."""
        loop = asyncio.get_running_loop()
        try:
            with short_path(self._path) as short:
                transport, connection = await loop.create_unix_connection(
                    lambda: ResponseHandler(loop), short
                )
        except OSError as error:
            raise UnreachableError(error.strerror or str(error)) from error
        transport.write(header(self._remote))
        return connection

    def keep(self, client: BaseProtocol, connection: ResponseHandler) -> None:  # noqa: ARG002
        """Close it: it was for one request."""
        connection.close()


class _Door(Route):
    """The route of one request to the service, which has no websockets."""

    websockets = False

    def __init__(self, pool: _DoorPool, under_way: set[Endable]) -> None:
        super().__init__(_SERVICE, _SERVICE, Hosts(_SERVICE, 443), pool)
        self.under_way = under_way

    def provenance(self, remote: str, asked: str) -> Sequence[bytes]:  # noqa: ARG002
        """Return nothing: the connection has it, in the PROXY protocol's header."""
        return ()


class _Worker(RequestHandler):
    """A worker that has received its `Begin`."""

    def __init__(self, begin: Begin, listener: socket.socket) -> None:
        hosts = Hosts(begin.domain, begin.public_port)
        upstream = upstream_context(begin.upstream_ca.encode())
        self._routes = Routes(hosts, upstream, begin.connect_timeout)
        self._forwarder = Forwarder(
            begin.ping_every, begin.dead_after, begin.strict_transport, begin.stall_time
        )
        pages = Pages(Appearance(**begin.appearance))
        super().__init__((self._routes, self._forwarder), begin.strict_transport, pages)
        self._door = Path(begin.door)
        self._connect_timeout = begin.connect_timeout
        self._handed_on: set[Endable] = set()
        self._service_answers = True  # as far as is known
        self._shown = SwappableContext(context_from_memory(begin.certificate.encode()))
        self._listener = listener
        self._begin = begin
        self._server = HttpServer(
            self.handle, head_time=begin.head_time, head_too_large=self.head_too_large
        )
        self._accepting: Accepting | None = None

    async def carry_out(self, call: str, arguments: dict[str, Any]) -> None:
        """Carry out one call of the service; see `engines.workers.pool`."""
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
            case "listen":
                self._accepting = Accepting(
                    self._listener,
                    self._server,
                    context=self._shown.context,
                    hello_time=self._begin.hello_time,
                    per_address=self._begin.connections_per_address,
                )
            case _:
                raise ValueError(f"no such call: {call}")

    async def traffic(self) -> Traffic:
        """See `Engine`."""
        return await self._routes.traffic()

    async def close(self) -> None:
        """End requests and websockets; websockets get a close frame."""
        if self._accepting is not None:
            self._accepting.close()
        self._routes.close()
        await self._server.end(1)
        for each in list(self._handed_on):
            each.end()

    async def _elsewhere(
        self,
        request: web.BaseRequest,
        host: str,  # noqa: ARG002 - the service reads the head itself
        remote: str,
    ) -> web.StreamResponse:
        door = _Door(_DoorPool(self._door, self._connect_timeout, remote), self._handed_on)
        try:
            response = await self._forwarder.forward(request, door, remote)
        except NotAnsweringError as error:
            if self._service_answers:  # logged once
                _log.warning("service-not-answering", reason=str(error))
                self._service_answers = False
            return self._pages.service_away(request)
        self._service_answers = True
        return response


async def run(channel: socket.socket, listener: socket.socket) -> None:
    """Carry out the service's calls until the channel closes."""
    reader, writer = await asyncio.open_connection(sock=channel)
    worker: _Worker | None = None
    while (call := await receive(reader)) is not None:
        name, error = call.pop("call"), None
        try:
            if worker is None:
                begin = Begin(**call)
                configure(level=begin.log_level, log_format=begin.log_format)
                worker = _Worker(begin, listener)
            elif name == "stop":
                break
            else:
                await worker.carry_out(name, call)
        except Exception as defect:  # noqa: BLE001 - reported to the service, which replaces the worker
            _log.exception("defect")
            error = f"{type(defect).__name__}: {defect}"
        traffic = Traffic() if worker is None else await worker.traffic()
        writer.write(message({"error": error, "traffic": asdict(traffic)}))
    if worker is not None:
        await worker.close()
    writer.close()


def main(channel: int, listener: int) -> None:
    """Run the worker on these descriptors."""
    # Signals to the process group (Ctrl-C, systemd) are for the service, which then stops its workers.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # It also ends a stopped (SIGSTOP) worker. Without it, the worker notices that the channel closed.
    with contextlib.suppress(OSError, ImportError):
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    import uvloop

    os.umask(0o077)
    uvloop.run(run(socket.socket(fileno=channel), socket.socket(fileno=listener)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
