"""The engine HAProxy: a map of routes, changed over its control socket.

The service also writes the map's file, from which HAProxy reads its routes when it starts.
"""

from __future__ import annotations

import asyncio
import csv
import errno
import io
import re
import socket
import threading
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.log import get_logger
from rps_proxy.engine import EngineError, Target, Traffic
from rps_proxy.engines.haproxy.answers import answers
from rps_proxy.engines.haproxy.configuration import (
    CERTIFICATE,
    CONTROL,
    ROUTES,
    UPSTREAM_CA,
    render,
)
from rps_proxy.engines.haproxy.control import Control, map_value
from rps_proxy.http.unix_socket import short_path
from rps_proxy.private_files import write_for_group
from rps_proxy.settings.model import Settings

if TYPE_CHECKING:
    from rps_proxy.pages.render import Pages

WRITE_AFTER = 0.1  # seconds in which changes of the file are gathered

_log = get_logger("rps.haproxy")


def prepare(
    settings: Settings, directory: Path, certificate: bytes, upstream_ca: bytes, pages: Pages
) -> HAProxy:
    """Write the files that HAProxy starts from; return its controller.

    Raises:
        OSError: the directory cannot be written.
    """
    write_for_group(directory / CERTIFICATE, certificate)
    write_for_group(directory / UPSTREAM_CA, upstream_ca)
    for name, answer in answers(pages).items():
        write_for_group(directory / name, answer)
    for name, text in render(settings, directory).items():
        write_for_group(directory / name, text.encode())
    if not (directory / ROUTES).exists():
        write_for_group(directory / ROUTES, b"")
    _remove_dead_socket(directory / CONTROL)
    return HAProxy(directory)


def _remove_dead_socket(path: Path) -> None:
    """Remove the control socket of a HAProxy that has ended.

    The next one makes a hard link to it while it starts, which Linux allows only for the account's own
    files (fs.protected_hardlinks): under another account HAProxy would fail.
    """
    if not path.exists():
        return
    with socket.socket(socket.AF_UNIX) as probe, short_path(path) as short:
        if probe.connect_ex(short) == errno.ECONNREFUSED:
            path.unlink(missing_ok=True)


class HAProxy:
    """Control HAProxy, which systemd runs (`rps proxy engine run`); see `Engine`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._map = directory / ROUTES
        self._wanted: dict[str, Target] = {}  # by host
        self._control = Control(directory / CONTROL, self._map)
        self._writing: asyncio.Task[None] | None = None
        self._dirty = False
        self._file_lock = threading.Lock()
        self._strays = True  # streams to addresses without a route may be open

    async def add(self, target: Target) -> None:
        """See `Engine`; a route that is there already is replaced."""
        self._wanted[target.host] = target
        self._write_soon()
        async with self._control.change():
            # `add map` would keep an old value beside the new.
            await self._control.delete([target.host])
            await self._control.add([target])

    async def remove(self, target: Target) -> None:
        """See `Engine`."""
        self._wanted.pop(target.host, None)
        self._write_soon()
        async with self._control.change():
            self._strays = True
            await self._control.delete([target.host])
            await self._end_strays()

    async def reconcile(self, targets: Mapping[str, Target]) -> None:
        """See `Engine`: HAProxy's map is read, and what differs is changed."""
        self._wanted = {target.host: target for target in targets.values()}
        self._write_soon()
        async with self._control.change():
            wanted = dict(self._wanted)
            held: dict[str, str] = {}
            wrong: set[str] = set()
            # After a start streams are checked in any case: the service may have been killed, or HAProxy have
            # stopped answering, when a route had left the map and its streams were still open.
            for host, value in await self._control.routes():
                if host in held or host not in wanted or value != map_value(wanted[host]):
                    wrong.add(host)
                held[host] = value
            self._strays |= bool(wrong)
            await self._control.delete(wrong)
            await self._control.add([t for h, t in wanted.items() if h not in held or h in wrong])
            if self._strays:
                await self._end_strays()

    async def certificate(self, pem: bytes) -> None:
        """Replace the front certificate (PEM, with its key and chain).

        The file from which HAProxy starts never holds a certificate that it refused.
        """
        path = self._directory / CERTIFICATE
        text = "\n".join(line for line in pem.decode().splitlines() if line.strip())
        answer: str | None = None
        try:
            async with self._control.change():
                await self._control.ask(f"set ssl cert {path} <<\n{text}\n")
                answer = await self._control.ask(f"commit ssl cert {path}")
        finally:
            if answer is None or "Success" in answer:
                write_for_group(path, pem)
        if "Success" not in answer:
            raise EngineError(f"HAProxy refused the certificate: {answer.strip()}")

    async def traffic(self) -> Traffic:
        """Return the bytes of clients' traffic, heads included, and open websockets."""
        async with self._control.change():
            rows = csv.DictReader(io.StringIO(await self._control.ask("show stat sessions 1 -1")))
            table = await self._control.ask("show table notebook-websockets")
        row = next(rows, None)
        if row is None or "bin" not in row:
            raise EngineError("HAProxy reported no traffic counters")
        open_now = re.search(r"\bconn_cur=(\d+)", table)
        return Traffic(int(open_now[1]) if open_now else 0, int(row["bin"]), int(row["bout"]))

    def sweep(self) -> None:
        """Do nothing: HAProxy closes idle connections."""

    def close(self) -> None:
        """Write the routes' file; HAProxy keeps its routes, after a restart too."""
        if self._writing is not None:
            self._writing.cancel()
        try:
            self._write_file()
        except OSError as error:
            _log.error("routes-not-written", reason=str(error))

    async def _end_strays(self) -> None:
        """End the streams to addresses without a route.

        An address that another route now has is left alone: the port is that session's, so the process that
        had it before has ended, and its streams with it.
        """
        wanted = {(ip_address(t.address), t.port) for t in self._wanted.values()}
        ids = [
            stream
            for stream, address, port in await self._control.streams()
            if (ip_address(address), port) not in wanted
        ]
        await self._control.shut_down(ids)
        self._strays = False

    def _write_soon(self) -> None:
        self._dirty = True
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._dirty:
            await asyncio.sleep(WRITE_AFTER)
            self._dirty = False
            try:
                await asyncio.to_thread(self._write_file)
            except OSError as error:
                _log.error("routes-not-written", reason=str(error))
                self._dirty = True  # tried again with the next change or the next `reconcile`
                return

    def _write_file(self) -> None:
        with self._file_lock:
            write_for_group(self._map, _file(dict(self._wanted)))


def _file(targets: Mapping[str, Target]) -> bytes:
    return "".join(f"{host} {map_value(target)}\n" for host, target in targets.items()).encode()
