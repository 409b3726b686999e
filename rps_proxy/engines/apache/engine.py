"""The engine Apache: it looks up each request's route in an SQLite file.

Websockets go through the service, since Apache cannot end a single one. The file is not in WAL mode, in which
a reader without write permission cannot open it after its writer has gone; its journal is truncated at each
commit (https://www.sqlite.org/pragma.html#pragma_journal_mode).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rps_core.log import get_logger
from rps_proxy.engine import Engine, EngineError, Target, Traffic
from rps_proxy.engines.apache.configuration import (
    AWAY_LINE_FILE,
    AWAY_MAP_FILE,
    BAD_REQUEST_FILE,
    CERTIFICATE,
    CONFIG,
    PID,
    ROUTES,
    UPSTREAM_CA,
    away_map,
    bracketed,
    render,
)
from rps_proxy.private_files import write_for_group
from rps_proxy.settings.model import Settings

if TYPE_CHECKING:
    from rps_proxy.pages.render import Pages

TIMEOUT = 1.5  # seconds that a change waits, for those before it and for readers
JOURNAL = "PRAGMA journal_mode = TRUNCATE"

_log = get_logger("rps.apache")
_T = TypeVar("_T")


def prepare(
    settings: Settings,
    directory: Path,
    certificate: bytes,
    upstream_ca: bytes,
    websockets: Engine,
    pages: Pages,
) -> Apache:
    """Write the files that Apache starts from; return its controller.

    The routes also go to `websockets`.

    Raises:
        OSError: the directory cannot be written.
    """
    from rps_proxy.pages.render import AWAY_LINE

    write_for_group(directory / CERTIFICATE, certificate)
    write_for_group(directory / UPSTREAM_CA, upstream_ca)
    write_for_group(directory / AWAY_MAP_FILE, away_map(pages))
    write_for_group(directory / AWAY_LINE_FILE, AWAY_LINE)
    write_for_group(directory / BAD_REQUEST_FILE, b"Bad request\n")
    for name, text in render(settings, directory).items():
        write_for_group(directory / name, text.encode())
    return Apache(directory, websockets)


class Apache:
    """Control Apache, which systemd runs (`rps proxy engine run`); see `Engine`."""

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
        """Write the new front certificate and reload Apache; connections are kept."""
        write_for_group(self._directory / CERTIFICATE, pem)
        pid = _pid(self._directory)
        try:
            if pid is None:
                raise ProcessLookupError
            os.kill(pid, signal.SIGUSR1)
        except (PermissionError, ProcessLookupError):
            # Of another account, or with the site in another configuration.
            _log.warning("apache-is-to-be-reloaded", reason="a new certificate")

    async def traffic(self) -> Traffic:
        """Return the traffic of websockets; Apache reports no other."""
        return await self._websockets.traffic()

    def sweep(self) -> None:
        """Close idle connections of websockets; Apache closes the others itself."""
        self._websockets.sweep()

    def close(self) -> None:
        """End the websockets; Apache keeps its routes."""
        self._websockets.close()
        self._database.close()

    async def _change(self, change: Callable[[], _T]) -> _T:
        began = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._lock.acquire()
        except TimeoutError:  # else each would wait for as long as all before it
            raise EngineError(f"Could not change Apache's routes within {TIMEOUT:g} s") from None

        def in_time() -> _T:
            left = max(0.0, began + TIMEOUT - time.monotonic())
            self._database.execute(f"PRAGMA busy_timeout = {round(left * 1000)}").fetchone()
            try:
                return change()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                    raise
            # The disk has no room for the journal; deleting a route needs none for itself.
            self._database.execute("PRAGMA journal_mode = MEMORY").fetchone()
            try:
                return change()
            finally:
                self._database.execute(JOURNAL).fetchone()

        try:
            return await asyncio.to_thread(in_time)
        except sqlite3.Error as error:
            raise EngineError(
                f"Cannot change Apache's routes in {self._directory / ROUTES}: {error}"
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
    """Open the database of routes; create it where it is missing or damaged.

    Raises:
        OSError: it cannot be created.
    """
    try:
        return _opened(path)
    except sqlite3.Error as error:
        # After a power failure: writes do not wait for the disk, since the registry holds all routes.
        # An Apache that runs keeps the old file open.
        _log.error("routes-recreated", reason=str(error))
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
            raise sqlite3.DatabaseError("quick_check failed")
    except BaseException:
        database.close()
        raise
    return database


def _upstream(target: Target) -> str:
    return f"{'https' if target.verified else 'http'}://{bracketed(target.address)}:{target.port}"


def _pid(directory: Path) -> int | None:
    """Return the pid of the Apache that runs with this configuration, or None."""
    try:
        pid = int((directory / PID).read_text())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(directory / CONFIG) in arguments else None
