"""Apache as the engine: it looks each request's route up in an SQLite file that we write.

Websockets go through the service: Apache cannot end a single one. The file is in no WAL mode, since a
reader without write permission could not read it once its writer has gone; its journal is cut to
nothing at each commit (https://www.sqlite.org/pragma.html#pragma_journal_mode).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from string import Template
from typing import TypeVar

from rps_core.log import get_logger
from rps_proxy.engines import Engine, EngineError, Target, Traffic
from rps_proxy.files import write_for_group
from rps_proxy.settings import Settings

WANTED = "Apache 2.4.60 or newer"
TIMEOUT = 1.5  # seconds that a change waits, for those before it and for readers
JOURNAL = "PRAGMA journal_mode = TRUNCATE"
CONFIG, SITE, ROUTES, PID = "apache.conf", "apache-site.conf", "routes.db", "run/apache.pid"
CERTIFICATE, UPSTREAM_CA = "front.pem", "upstream-ca.pem"
MODULES = (
    "authz_core",
    "dbd",
    "headers",
    "http2",
    "proxy",
    "proxy_http",
    "reqtimeout",
    "rewrite",
    "socache_shmcb",
    "ssl",
)
# Apache takes away fields by their full names alone; these are the ones in use.
_NOT_FROM_CLIENTS = (
    "Forwarded", "Keep-Alive", "Proxy", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
    "TE", "Trailer", "X-Client-IP", "X-Forwarded", "X-Forwarded-By", "X-Forwarded-Client-Cert",
    "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix",
    "X-Forwarded-Proto", "X-Forwarded-Protocol", "X-Forwarded-Scheme", "X-Forwarded-Server",
    "X-Forwarded-Ssl", "X-Forwarded-Uri", "X-Forwarded-User", "X-Real-IP", "X-Rps-Caller",
)  # fmt: skip

_log = get_logger("rps.apache")
_T = TypeVar("_T")


def render(settings: Settings, directory: Path) -> dict[str, str]:
    """Apache's configuration for an engine's directory: for one of our own, and the site alone."""
    listen = settings.listen
    addresses = ["0.0.0.0", "[::]"] if listen.address == "::" else [_bracketed(listen.address)]  # noqa: S104 - the operator asked for all
    places = [f"{address}:{listen.port}" for address in addresses]
    strict = settings.strict_transport
    account = f"User {settings.apache.user}\nGroup {settings.apache.group}"
    values = {
        "account": account if settings.apache.group is not None else "",
        "addresses": " ".join(places),
        "certificate": directory / CERTIFICATE,
        "connect_timeout": f"{max(1, round(settings.upstream.connect_timeout * 1000))}ms",
        "directory": directory,
        "domain": settings.domain,
        "domain_pattern": settings.domain.replace(".", r"\."),
        "listens": "\n".join(f"Listen {place}" for place in places),
        "load": "\n".join(
            f"LoadModule {name}_module {settings.apache.modules}/mod_{name}.so" for name in MODULES
        ),
        "modules": settings.apache.modules,
        "public_port": listen.public_port or listen.port,
        "routes": directory / ROUTES,
        "service_socket": directory / "service.sock",
        "site": directory / SITE,
        "strict_transport": ""
        if strict is None
        # "always" is a table of its own, beside which a notebook's, and the service's, would be said too.
        else "Header unset Strict-Transport-Security\n"
        f'    Header always set Strict-Transport-Security "{strict}"',
        "unset": "\n".join(f"    RequestHeader unset {name}" for name in _NOT_FROM_CLIENTS),
        "upstream_ca": directory / UPSTREAM_CA,
    }
    return {name: Template(_packaged(name)).substitute(values) for name in (CONFIG, SITE)}


def check_command(settings: Settings, directory: Path) -> list[str]:
    """What has Apache verify its configuration."""
    return [settings.apache.program, "-t", "-f", str(directory / CONFIG)]


def run_command(settings: Settings, directory: Path) -> list[str]:
    """What is Apache, in the foreground."""
    return [settings.apache.program, "-DFOREGROUND", "-f", str(directory / CONFIG)]


def prepare(
    settings: Settings, directory: Path, certificate: bytes, upstream_ca: bytes, websockets: Engine
) -> Apache:
    """All that Apache starts from, and our side of it. The routes also go to `websockets`.

    Raises:
        OSError: the directory cannot be written.
    """
    write_for_group(directory / CERTIFICATE, certificate)
    write_for_group(directory / UPSTREAM_CA, upstream_ca)
    for name, text in render(settings, directory).items():
        write_for_group(directory / name, text.encode())
    return Apache(directory, websockets)


class Apache:
    """The service's side. Apache itself is started by systemd: `rps proxy engine run`."""

    def __init__(self, directory: Path, websockets: Engine) -> None:
        self._directory = directory
        self._websockets = websockets
        self._lock = asyncio.Lock()  # asyncio's is first come, first served
        self._database = _open(directory / ROUTES)

    async def add(self, target: Target) -> None:
        """See `Engine`; a route that is there already is replaced."""
        await self._websockets.add(target)
        await self._change(lambda: self._put([target]))

    async def remove(self, target: Target) -> None:
        """See `Engine`. An answer that Apache is passing on ends with its notebook."""
        await self._websockets.remove(target)
        await self._change(lambda: self._delete([target.host]))

    async def reconcile(self, targets: Mapping[str, Target]) -> None:
        """See `Engine`: the file is read, and what differs is changed."""
        await self._websockets.reconcile(targets)
        wanted = {target.host: target for target in targets.values()}
        await self._change(lambda: self._replace(wanted))

    async def certificate(self, pem: bytes) -> None:
        """Write the new front certificate, and have Apache take it up, its connections kept."""
        write_for_group(self._directory / CERTIFICATE, pem)
        pid = _pid(self._directory)
        try:
            if pid is None:
                raise ProcessLookupError
            os.kill(pid, signal.SIGUSR1)
        except (PermissionError, ProcessLookupError):  # another's, or part of another configuration
            _log.warning("apache-is-to-be-reloaded", reason="a new certificate")

    async def traffic(self) -> Traffic:
        """Websockets alone: of the rest Apache says nothing."""
        return await self._websockets.traffic()

    def sweep(self) -> None:
        """Close what the websockets left idle; Apache does so itself."""
        self._websockets.sweep()

    def close(self) -> None:
        """End the websockets. Apache goes on with the routes that it has."""
        self._websockets.close()
        self._database.close()

    async def _change(self, change: Callable[[], _T]) -> _T:
        began = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._lock.acquire()
        except TimeoutError:  # or each would wait for as long as all before it
            raise EngineError(f"Apache's routes are not changed within {TIMEOUT:g} s") from None

        def in_time() -> _T:
            left = max(0.0, began + TIMEOUT - time.monotonic())
            self._database.execute(f"PRAGMA busy_timeout = {round(left * 1000)}").fetchone()
            try:
                return change()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                    raise
            # No room for the journal; but a route that is taken out needs none itself.
            self._database.execute("PRAGMA journal_mode = MEMORY").fetchone()
            try:
                return change()
            finally:
                self._database.execute(JOURNAL).fetchone()

        try:
            return await asyncio.to_thread(in_time)
        except sqlite3.Error as error:
            raise EngineError(
                f"Apache's routes in {self._directory / ROUTES} cannot be changed: {error}"
            ) from error
        finally:
            self._lock.release()

    def _put(self, targets: list[Target]) -> None:
        with self._transaction():
            self._database.executemany(
                "INSERT OR REPLACE INTO routes VALUES (?, ?)",
                [(target.host, _upstream(target)) for target in targets],
            )

    def _delete(self, hosts: list[str]) -> None:
        with self._transaction():
            self._database.executemany("DELETE FROM routes WHERE host = ?", [(h,) for h in hosts])

    def _replace(self, wanted: Mapping[str, Target]) -> None:
        held = dict(self._database.execute("SELECT host, upstream FROM routes").fetchall())
        surplus = [host for host in held if host not in wanted]
        missing = [t for host, t in wanted.items() if held.get(host) != _upstream(t)]
        if surplus:
            self._delete(surplus)
        if missing:
            self._put(missing)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # SQLite ends it itself where the disk is full
                self._database.execute("ROLLBACK")
            raise


def _open(path: Path) -> sqlite3.Connection:
    """The routes' file, made anew where there is none, or a broken one.

    Raises:
        OSError: it cannot be made.
    """
    try:
        return _opened(path)
    except sqlite3.Error as error:
        # After a power failure: it is written without waiting for the disk, as all in it is known better.
        # Apache, if it runs, has the old one open.
        _log.error("routes-made-anew", reason=str(error))
        path.unlink()
        try:
            return _opened(path)
        except sqlite3.Error as again:
            raise OSError(None, str(again)) from again


def _opened(path: Path) -> sqlite3.Connection:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        # Its journal gets the same owner and mode; Apache has to look at both.
        os.fchown(handle, -1, path.parent.stat().st_gid)
        os.fchmod(handle, 0o640)
    finally:
        os.close(handle)
    database = sqlite3.connect(path, TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        database.execute(JOURNAL).fetchone()
        database.execute("PRAGMA synchronous = OFF")
        database.execute(
            "CREATE TABLE IF NOT EXISTS routes"
            " (host TEXT PRIMARY KEY, upstream TEXT NOT NULL) WITHOUT ROWID"
        )
        if database.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("its check finds it broken")
    except BaseException:
        database.close()
        raise
    return database


def _upstream(target: Target) -> str:
    return f"{'https' if target.verified else 'http'}://{_bracketed(target.address)}:{target.port}"


def _bracketed(address: str) -> str:
    return f"[{address}]" if ip_address(address).version == 6 else address


def _pid(directory: Path) -> int | None:
    """The Apache that runs with our configuration."""
    try:
        pid = int((directory / PID).read_text())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(directory / CONFIG) in arguments else None


def _packaged(name: str) -> str:
    return (files("rps_proxy") / "engines" / name).read_text(encoding="utf-8")
