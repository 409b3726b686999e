"""The registry's file without the service: read it, copy it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.errors import NotFoundError, ServiceError, UsageError
from rps_core.system.files import remove_unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rps_proxy.registry.registry import Registry
    from rps_proxy.settings.model import Settings

NEVER_STARTED = "Check `directory` in the configuration: the service creates it at its first start."


def backup(settings: Settings, file: Path) -> None:
    """Copy the registry to `file` (mode 0600), consistently; the service may run.

    An existing file is replaced when the copy is complete.

    Raises:
        NotFoundError: there is no registry.
        ServiceError: it cannot be copied, or is damaged.
        UsageError: `file` cannot be the copy.
    """
    source_file = _registry_file(settings)
    if not file.parent.is_dir():
        raise UsageError(
            f"There is no directory {file.parent}.", "Create it, or give another file."
        )
    if file.exists() and file.samefile(source_file):
        raise UsageError(f"{file} is the registry itself.", "Give another file for the copy.")
    remove_unfinished(file)
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        try:
            with (
                contextlib.closing(sqlite3.connect(source_file)) as source,
                contextlib.closing(sqlite3.connect(beside)) as copy,
            ):
                source.backup(copy)
                # The copy is then one file, readable without a write-ahead log.
                copy.execute("PRAGMA journal_mode = DELETE")
                (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
                if found != "ok":  # SQLite copies damaged pages as well
                    raise _damaged(source_file, file, found.splitlines()[-1])
            with beside.open("rb") as written:
                os.fsync(written.fileno())
            beside.replace(file)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, sqlite3.DatabaseError) and error.sqlite_errorcode & 0xFF in (
            sqlite3.SQLITE_CORRUPT,
            sqlite3.SQLITE_NOTADB,
        ):
            raise _damaged(source_file, file, str(error)) from error
        raise ServiceError(
            f"Could not copy the registry {source_file} to {file}: "
            f"{(isinstance(error, OSError) and error.strerror) or error}",
            "Give a file on a disk with free space, in a directory that this account can write to.",
        ) from error


def _damaged(registry: Path, file: Path, how: str) -> ServiceError:
    return ServiceError(
        f"Did not copy the registry {registry}: it is damaged: {how}",
        f"{file} is unchanged. Restore the last copy (docs/operators.md).",
    )


@contextlib.contextmanager
def stopped_registry(settings: Settings) -> Iterator[Registry]:
    """Open the registry of a service that is not running.

    Raises:
        NotFoundError: there is no registry.
        ServiceError: it cannot be read.
    """
    from rps_proxy.refusals import BusyError
    from rps_proxy.registry.registry import Registry, what_to_do

    path = _registry_file(settings)
    registry = Registry(path)
    try:
        yield registry
    except BusyError as error:
        raise ServiceError(
            f"Could not read the registry {path}: {error}", what_to_do(path)
        ) from error
    finally:
        registry.close()


def _registry_file(settings: Settings) -> Path:
    path = settings.service_directory / "registry.db"
    try:
        found = path.exists()
    except PermissionError as error:
        raise ServiceError(
            f"Cannot open {path.parent}: only the service's account may.",
            "Run this as that account, or as root.",
        ) from error
    if not found:
        raise NotFoundError(f"There is no registry at {path}.", NEVER_STARTED)
    return path
