"""The operator's side of the admin socket, and what can be done without a running service."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rps_core.errors import NotFoundError, ServiceError, UsageError
from rps_proxy.unix_socket import short_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rps_proxy.registry import Registry
    from rps_proxy.session import Session
    from rps_proxy.settings import Settings

SOCKET_FILE = "admin.sock"
DRAINING_FILE = "draining"
TIMEOUT = 30.0  # seconds that the service may take to answer

Status = dict[str, Any]


def ask(settings: Settings, method: str, path: str, body: object = None) -> str | None:
    """One call on the admin socket; None where no service listens on it.

    Raises:
        ServiceError: it is not for this account, or the service refused or did not answer.
    """
    configured = settings.admin.socket
    file = Path(configured).expanduser() if configured else settings.service_directory / SOCKET_FILE
    client = http.client.HTTPConnection("service", timeout=TIMEOUT)
    client.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.sock.settimeout(TIMEOUT)
    try:
        try:
            with short_path(file) as short:
                client.sock.connect(short)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return None
        client.request(method, path, None if body is None else json.dumps(body))
        response = client.getresponse()
        answer = response.read().decode()
    except PermissionError as error:
        raise ServiceError(
            f"{file} is for the service's account alone.",
            "Run this as that account, or as root.",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise ServiceError(
            f"The service does not answer on {file}: {error}", "Its log may say why."
        ) from error
    finally:
        client.close()
    if response.status != 200:
        said = json.loads(answer)
        code, message = str(said.get("error", response.status)), said.get("message")
        why = f": {message}" if message else ""
        raise ServiceError(f"The service refused: {code}{why}", "Its log may say why.", code=code)
    return answer


def status(settings: Settings) -> Status:
    """How the service stands; with `running` false, what its registry holds.

    Raises:
        NotFoundError: there is neither a service nor a registry.
        ServiceError: see `ask`.
    """
    answer = ask(settings, "GET", "/status")
    if answer is not None:
        return {"running": True, **json.loads(answer)}
    with _stopped_registry(settings) as registry:
        return {"running": False, "sessions": registry.counts()}


def sessions(settings: Settings) -> list[dict[str, Any]]:
    """The sessions that are not gone, the newest first; without a service, as the registry has them.

    Raises:
        NotFoundError, ServiceError: as for `status`.
    """
    answer = ask(settings, "GET", "/sessions")
    if answer is not None:
        found: list[dict[str, Any]] = json.loads(answer)
        return found
    from rps_proxy.session import Phase

    with _stopped_registry(settings) as registry:
        living = [phase for phase in Phase if phase is not Phase.GONE]
        return [described(session, live=False) for session in registry.every(living)]


def revoke(settings: Settings, names: list[str], reason: str) -> None:
    """End sessions, and all that is under way on their routes.

    Raises:
        NotFoundError: no session has one of these names; the others are ended.
        ServiceError: see `ask`; or no service runs; or the engine does not answer.
        UsageError: the reason cannot be shown.
    """
    if not reason.isprintable():
        raise UsageError(
            "--reason has line ends, or what cannot be printed.", "Give it as one line."
        )
    answer = ask(settings, "POST", "/revoke", {"names": names, "reason": reason})
    if answer is None:
        raise ServiceError(
            "No service is running there, so no routes either: nothing was revoked.",
            "Start it first (`rps proxy serve`).",
        )
    done = json.loads(answer)
    if done["lingering"]:
        raise ServiceError(
            f"The engine does not answer: it may carry {', '.join(done['lingering'])} until it does.",
            "They are over, and it will hear of it. If it hangs, restart it "
            "(`systemctl restart rps-proxy-engine`): that ends all that it carries.",
            transient=True,
        )
    unknown = done["unknown"]
    if unknown:
        raise NotFoundError(
            f"There is no session {', '.join(unknown)}.", "`rps proxy sessions` lists them."
        )


def drain(settings: Settings, *, on: bool) -> None:
    """Have the service issue no new names, or issue them again; it outlives the service.

    Raises:
        NotFoundError: there is no directory of a service.
        ServiceError: see `ask`.
    """
    if ask(settings, "POST", "/drain", {"on": on}) is None:
        from rps_proxy.files import own_directory

        directory = settings.service_directory
        if not directory.is_dir():
            raise NotFoundError(
                f"There is no service's directory {directory}.", "Has the service ever run there?"
            )
        # Root may do so to a service of another account; that there is such a file is all that counts.
        if os.geteuid() != 0:
            own_directory(directory)
        set_draining(directory, on=on)


def set_draining(directory: Path, *, on: bool) -> None:
    """Make or remove the file that says so, in the service's directory."""
    from rps_proxy.files import write_private

    file = directory / DRAINING_FILE
    if on:
        write_private(file, b"")
    else:
        file.unlink(missing_ok=True)


def backup(settings: Settings, file: Path) -> None:
    """Copy the registry as it is at one moment to `file` (mode 0600), running or not.

    A file that is there is replaced once the copy is whole.

    Raises:
        NotFoundError: there is no registry.
        ServiceError: it cannot be copied, or is damaged.
        UsageError: that is no place for a copy.
    """
    source_file = _registry_file(settings)
    if not file.parent.is_dir():
        raise UsageError(f"There is no directory {file.parent}.", "Make it, or name another.")
    if file.exists() and file.samefile(source_file):
        raise UsageError(f"{file} is the registry itself.", "Name another file for the copy.")
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        try:
            with (
                contextlib.closing(sqlite3.connect(source_file)) as source,
                contextlib.closing(sqlite3.connect(beside)) as copy,
            ):
                source.backup(copy)
                # One file, which needs no log beside it to be read.
                copy.execute("PRAGMA journal_mode = DELETE")
                (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
                if found != "ok":  # SQLite copies pages as they are
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
            f"The registry {source_file} cannot be copied to {file}: "
            f"{(isinstance(error, OSError) and error.strerror) or error}",
            "Choose a place with room, on which this account may write.",
        ) from error


def _damaged(registry: Path, file: Path, how: str) -> ServiceError:
    return ServiceError(
        f"The registry {registry} is damaged, and was not copied: {how}",
        f"{file} is as it was. Restore the last copy (docs/operators.md).",
    )


def described(session: Session, *, live: bool) -> dict[str, Any]:
    """A session for the operator: who, where, since when; nothing that opens it."""
    return {
        "name": session.name,
        "phase": session.phase.name.lower(),
        "live": live,
        "lapsed": session.lapsed is not None,
        "user": session.user,
        "cluster": session.cluster,
        "job_id": session.job,
        "address": session.address,
        "port": session.port,
        "source": session.source,
        "created": datetime.fromtimestamp(session.created, UTC).isoformat(timespec="seconds"),
    }


@contextlib.contextmanager
def _stopped_registry(settings: Settings) -> Iterator[Registry]:
    """The registry, where no service has it open.

    Raises:
        NotFoundError: there is none.
        ServiceError: it cannot be read.
    """
    from rps_proxy.group_commit import BusyError
    from rps_proxy.registry import Registry, what_to_do

    path = _registry_file(settings)
    registry = Registry(path)
    try:
        yield registry
    except BusyError as error:
        raise ServiceError(
            f"The registry {path} cannot be read: {error}", what_to_do(path)
        ) from error
    finally:
        registry.close()


def _registry_file(settings: Settings) -> Path:
    path = settings.service_directory / "registry.db"
    try:
        found = path.exists()
    except PermissionError as error:
        raise ServiceError(
            f"{path.parent} is for the service's account alone.",
            "Run this as that account, or as root.",
        ) from error
    if not found:
        raise NotFoundError(f"There is no registry at {path}.", "Has the service ever run there?")
    return path
