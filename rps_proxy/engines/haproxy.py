"""HAProxy as the engine: a map of routes, changed over its control socket without a reload.

The map's file is kept in step, so that HAProxy comes back with its routes. Commands: HAProxy's
Management Guide, 9.3. A value of the map is `ADDRESS|PORT|tls` or `ADDRESS|PORT|plain`.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import errno
import io
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from string import Template

from rps_core.log import get_logger
from rps_proxy.engines import EngineError, Target, Traffic
from rps_proxy.files import write_for_group
from rps_proxy.settings import Settings
from rps_proxy.unix_socket import short_path

WANTED = "HAProxy 2.6 or newer, built with Lua"
TIMEOUT = 2.0  # seconds for one change
WRITE_AFTER = 0.1  # seconds in which changes of the file are gathered
HEAP_KEPT = 4 * 2**20  # bytes at the end of a heap that are not given back to the kernel
_BATCH = 12 * 1024  # bytes of one command; HAProxy takes less than its buffer, 32 KiB
_NOT_THERE = "Key not found."

CONFIG, SCRIPT = "haproxy.cfg", "haproxy.lua"
CONTROL, ROUTES = "run/haproxy.sock", "routes.map"
CERTIFICATE, UPSTREAM_CA, NOT_ANSWERING = "front.pem", "upstream-ca.pem", "not-answering.http"

_log = get_logger("rps.haproxy")


def render(settings: Settings, directory: Path) -> dict[str, str]:
    """HAProxy's configuration, for an engine's directory `directory`: files by name."""
    listen = settings.listen
    port = listen.public_port or listen.port
    addresses = ["0.0.0.0", "::"] if listen.address == "::" else [listen.address]  # noqa: S104 - the operator asked for all
    binds = [
        f"    bind {'ipv6@' if ':' in address else 'ipv4@'}{address}:{listen.port}"
        f"{' v6only' if address == '::' else ''} ssl crt {directory / CERTIFICATE} alpn h2,http/1.1"
        for address in addresses
    ]
    domain = r"'^(.*);[[:space:]]*[Dd][Oo][Mm][Aa][Ii][Nn][[:space:]]*(=[^;]*)?(;.*)?$' '\1\3'"
    strict = settings.strict_transport
    text = Template(_packaged(CONFIG)).substitute(
        script=directory / SCRIPT,
        control=directory / CONTROL,
        routes=directory / ROUTES,
        upstream_ca=directory / UPSTREAM_CA,
        not_answering=directory / NOT_ANSWERING,
        service_socket=directory / "service.sock",
        connect_timeout=max(1, round(settings.upstream.connect_timeout * 1000)),
        binds="\n".join(binds),
        public_port=port,
        url_port="" if port == 443 else f":{port}",
        without_domain=domain,
        strict_transport=""
        if strict is None
        else f"http-after-response set-header Strict-Transport-Security {strict}",
    )
    return {CONFIG: text, SCRIPT: _packaged(SCRIPT)}


def not_answering() -> bytes:
    """The answer that HAProxy gives for a notebook that does not, head and all."""
    from rps_proxy.pages import HEADERS, PAGES, Pages
    from rps_proxy.standing import Standing

    page = PAGES["not-answering"]
    body = Pages().html(Standing("not-answering")).encode()
    fields = {
        **HEADERS,
        "Content-Type": "text/html; charset=utf-8",
        "Content-Length": str(len(body)),
        "Retry-After": "5",
    }
    head = [f"HTTP/1.1 {page.status} Bad Gateway", *(f"{k}: {v}" for k, v in fields.items())]
    return "\r\n".join([*head, "", ""]).encode() + body


def prepare(settings: Settings, directory: Path, certificate: bytes, upstream_ca: bytes) -> HAProxy:
    """All that HAProxy starts from, and our side of it.

    Raises:
        OSError: the directory cannot be written.
    """
    write_for_group(directory / CERTIFICATE, certificate)
    write_for_group(directory / UPSTREAM_CA, upstream_ca)
    write_for_group(directory / NOT_ANSWERING, not_answering())
    for name, text in render(settings, directory).items():
        write_for_group(directory / name, text.encode())
    if not (directory / ROUTES).exists():
        write_for_group(directory / ROUTES, b"")
    _remove_dead_socket(directory / CONTROL)
    return HAProxy(directory)


def check_command(settings: Settings, directory: Path) -> list[str]:
    """What has HAProxy verify its configuration."""
    return [settings.haproxy.program, "-c", "-f", str(directory / CONFIG)]


def run_command(settings: Settings, directory: Path) -> list[str]:
    """What is HAProxy, in the foreground.

    Buffers above half a megabyte for a thread, 16 of ours, it frees. The C library gives free memory back to
    the kernel from 128 KiB on, and asks for it again with the next request; that costs every thread time.
    """
    program = [settings.haproxy.program, "-db", "-f", str(directory / CONFIG)]
    return ["env", f"MALLOC_TRIM_THRESHOLD_={HEAP_KEPT}", *program]


def _remove_dead_socket(path: Path) -> None:
    """Remove the control socket that a HAProxy left, killed or not.

    The next one links it away for as long as it starts, which Linux allows for one's own alone
    (fs.protected_hardlinks): under another account it would give up.
    """
    if not path.exists():
        return
    with socket.socket(socket.AF_UNIX) as probe, short_path(path) as short:
        if probe.connect_ex(short) == errno.ECONNREFUSED:
            path.unlink(missing_ok=True)


class HAProxy:
    """The service's side. HAProxy itself is started by systemd: `rps proxy engine run`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._map = directory / ROUTES
        self._wanted: dict[str, Target] = {}  # by host
        self._lock = asyncio.Lock()  # asyncio's is first come, first served
        self._writing: asyncio.Task[None] | None = None
        self._dirty = False
        self._file_lock = threading.Lock()
        self._strays = True  # streams may be open to where no route leads any more

    async def add(self, target: Target) -> None:
        """See `Engine`; a route that is there already is replaced."""
        self._wanted[target.host] = target
        self._write_soon()
        async with self._channel():
            await self._delete([target.host])  # `add map` would keep an old value beside the new
            await self._add([target])

    async def remove(self, target: Target) -> None:
        """See `Engine`."""
        self._wanted.pop(target.host, None)
        self._write_soon()
        async with self._channel():
            self._strays = True
            await self._delete([target.host])
            await self._end_strays()

    async def reconcile(self, targets: Mapping[str, Target]) -> None:
        """See `Engine`: HAProxy's map is read, and what differs is changed."""
        self._wanted = {target.host: target for target in targets.values()}
        self._write_soon()
        async with self._channel():
            wanted = dict(self._wanted)
            held: dict[str, str] = {}
            wrong: set[str] = set()
            # We may have been killed, or HAProxy have stopped answering, with a route out of the map and its
            # streams still open; those that it has after a start of ours are looked at in any case.
            for line in (await self._ask(f"show map {self._map}")).split("\n"):
                if not line:
                    continue
                _, _, entry = line.partition(" ")
                host, _, value = entry.partition(" ")
                if not value:
                    raise EngineError(f"HAProxy does not know the map: {line.strip()}")
                if host in held or host not in wanted or value != _value(wanted[host]):
                    wrong.add(host)
                held[host] = value
            self._strays |= bool(wrong)
            await self._delete(wrong)
            await self._add([t for h, t in wanted.items() if h not in held or h in wrong])
            if self._strays:
                await self._end_strays()

    async def certificate(self, pem: bytes) -> None:
        """Take up a new front certificate: PEM, with its key and chain."""
        write_for_group(self._directory / CERTIFICATE, pem)
        path = self._directory / CERTIFICATE
        text = "\n".join(line for line in pem.decode().splitlines() if line.strip())
        async with self._channel():
            await self._ask(f"set ssl cert {path} <<\n{text}\n")
            said = await self._ask(f"commit ssl cert {path}")
            if "Success" not in said:
                raise EngineError(f"HAProxy did not take the certificate: {said.strip()}")

    async def traffic(self) -> Traffic:
        """All that clients sent and got, heads too. What is under way HAProxy counts as it comes to it."""
        async with self._channel():
            rows = csv.DictReader(io.StringIO(await self._ask("show stat sessions 1 -1")))
            table = await self._ask("show table notebook-websockets")
        row = next(rows, None)
        if row is None or "bin" not in row:
            raise EngineError("HAProxy does not tell what it carried")
        open_now = re.search(r"\bconn_cur=(\d+)", table)
        return Traffic(int(open_now[1]) if open_now else 0, int(row["bin"]), int(row["bout"]))

    def sweep(self) -> None:
        """Nothing: HAProxy closes what is idle."""

    def close(self) -> None:
        """HAProxy goes on with the routes that it has, after a restart too."""
        if self._writing is not None:
            self._writing.cancel()
        try:
            self._write_file()
        except OSError as error:
            _log.error("routes-not-written", reason=str(error))

    @contextlib.asynccontextmanager
    async def _channel(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(TIMEOUT), self._lock:
                yield
        except TimeoutError:
            raise EngineError(f"HAProxy did not answer within {TIMEOUT:g} s") from None
        except OSError as error:
            raise EngineError(
                f"HAProxy cannot be reached at {self._directory / CONTROL} "
                f"({error.strerror or error}); `rps proxy engine run` starts it"
            ) from error

    async def _ask(self, command: str) -> str:
        """One command, or several with `;`, and all that HAProxy says to it."""
        reader, writer = await asyncio.open_unix_connection(str(self._directory / CONTROL))
        try:
            writer.write(command.encode() + b"\n")
            await writer.drain()
            return (await reader.read()).decode()
        finally:
            writer.close()

    async def _add(self, targets: Iterable[Target]) -> None:
        entries = (f"{target.host} {_value(target)}" for target in targets)
        for batch in _batches(entries, "\n"):
            said = (await self._ask(f"add map {self._map} <<\n{batch}\n")).strip()
            if said:
                raise EngineError(f"HAProxy did not take routes: {said}")

    async def _delete(self, hosts: Iterable[str]) -> None:
        for batch in _batches((f"del map {self._map} {host}" for host in hosts), ";"):
            said = (await self._ask(batch)).replace(_NOT_THERE, "").strip()
            if said:
                raise EngineError(f"HAProxy did not give up routes: {said}")

    async def _end_strays(self) -> None:
        """End the streams that lead where no route does any more.

        An address that another route has by now is left alone: the port is that session's, so the process
        that had it before is gone, and its streams with it.
        """
        wanted = {(ip_address(t.address), t.port) for t in self._wanted.values()}
        ids = [
            stream
            for stream, address, port in _streams(await self._ask("show sess all"))
            if (ip_address(address), port) not in wanted
        ]
        for batch in _batches((f"shutdown session {stream}" for stream in ids), ";"):
            await self._ask(batch)
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
                self._dirty = (
                    True  # tried again with the next change, or when it is next reconciled
                )
                return

    def _write_file(self) -> None:
        with self._file_lock:
            write_for_group(self._map, _file(dict(self._wanted)))


def _value(target: Target) -> str:
    return f"{target.address}|{target.port}|{'tls' if target.verified else 'plain'}"


def _file(targets: Mapping[str, Target]) -> bytes:
    return "".join(f"{host} {_value(target)}\n" for host, target in targets.items()).encode()


def _batches(parts: Iterable[str], separator: str) -> Iterator[str]:
    """`parts` joined, no batch longer than HAProxy takes at once."""
    batch: list[str] = []
    size = 0
    for part in parts:
        if batch and size + len(part) + 1 > _BATCH:
            yield separator.join(batch)
            batch, size = [], 0
        batch.append(part)
        size += len(part) + 1
    if batch:
        yield separator.join(batch)


def _streams(listing: str) -> Iterator[tuple[str, str, int]]:
    """Each stream of `show sess all` that leads to a notebook: its id, and where it leads."""
    for stream in re.split(r"^(?=0x)", listing, flags=re.MULTILINE):
        found = re.search(r"\bserver=notebook \(id=\d+\) addr=([0-9a-fA-F:.]+):(\d+)", stream)
        if found:
            yield stream.partition(":")[0], found[1], int(found[2])


def _packaged(name: str) -> str:
    return (files("rps_proxy") / "engines" / name).read_text(encoding="utf-8")
