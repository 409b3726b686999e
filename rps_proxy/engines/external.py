"""Shared code of the external engines: their directory, socket and lock."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.errors import ServiceError
from rps_core.system import paths
from rps_proxy.engine import Engine
from rps_proxy.engines.apache import engine as apache
from rps_proxy.engines.haproxy import engine as haproxy
from rps_proxy.lock import take
from rps_proxy.private_files import check_way, write_for_group
from rps_proxy.settings.loading import load
from rps_proxy.settings.model import Settings

if TYPE_CHECKING:
    from rps_proxy.pages.render import Pages

SOCKET_FILE = "service.sock"
START_FILE = "engine.json"  # which engine, by which program


def external(
    settings: Settings, certificate: bytes, upstream_ca: bytes, embedded: Engine, pages: Pages
) -> Engine:
    """Write the files that the configured engine starts from; return its controller.

    The engine need not run yet. `certificate` is the front certificate with its key; both are PEM.
    `embedded` carries what the engine leaves to the service; of `pages` the engine shows some itself.

    Raises:
        ServiceError: the engine's directory cannot be used.
    """
    directory = engine_directory(settings)
    try:
        # The engine makes its control socket there, and the service must reach it.
        run = directory / "run"
        run.mkdir(exist_ok=True)
        os.chown(run, -1, directory.stat().st_gid)
        run.chmod(0o2770)
        start = {"engine": settings.engine_kind, "program": _program(settings)}
        write_for_group(directory / START_FILE, json.dumps(start).encode())
        if settings.engine_kind == "apache":
            return apache.prepare(settings, directory, certificate, upstream_ca, embedded, pages)
        return haproxy.prepare(settings, directory, certificate, upstream_ca, pages)
    except OSError as error:
        raise ServiceError(
            f"Cannot write to the engine's directory {directory}: {error.strerror or error}",
            "Give it to the service's account and free space on its disk (`engine_directory`).",
        ) from error


def settings_of_last_start(directory: Path) -> Settings | None:
    """Return the settings of the engine's last start; None: the directory has none.

    Only the engine, its program and this directory are the service's; the rest are defaults.
    """
    try:
        start = json.loads((directory / START_FILE).read_bytes())
        engine, program = start["engine"], start["program"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    options = (f"engine={engine}", f"{engine}.program={program}", f"engine_directory={directory}")
    return load(Path(os.devnull), options)


def _program(settings: Settings) -> str:
    apache = settings.engine_kind == "apache"
    return settings.apache.program if apache else settings.haproxy.program


def engine_directory(settings: Settings) -> Path:
    """Open the directory that service and engine share: socket, configuration, routes.

    Raises:
        ServiceError: it cannot be created, or belongs to another account.
    """
    directory = settings.engine_path
    check_way(directory)
    try:
        paths.make_directory(directory.parent, 0o755)
        directory.mkdir(mode=0o750, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ServiceError(
            f"Cannot open the engine's directory {directory}: {error.strerror}",
            "Create it for the service's account, or set another `engine_directory`.",
        ) from error
    try:
        status = os.fstat(handle)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise ServiceError(
                f"Refused the engine's directory {directory}: other accounts can write to it.",
                f"Make it the service's: `chown {os.geteuid()} {directory} && chmod 750 {directory}`",
            )
        # The engine's account has access by its group; a previous group must not read the keys.
        if status.st_gid != (group := _group(settings)):
            os.fchown(handle, -1, group)
        os.fchmod(handle, 0o750)
    finally:
        os.close(handle)
    return directory


def hold_engine(settings: Settings) -> None:
    """Lock the engine's directory until this process, or what it executes, ends.

    A second HAProxy would share the port and take over the control socket. The first would then keep all its
    routes, revoked ones too.

    Raises:
        ServiceError: an engine runs already, or this is root and the service is not.
    """
    directory = settings.engine_path / "run"
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    owner = os.fstat(handle).st_uid
    if os.geteuid() == 0 and owner != 0 and settings.engine_kind == "haproxy":
        os.close(handle)
        raise ServiceError(
            "Did not start HAProxy: it would run as root, and the service could not replace its files.",
            "Start its unit (`systemctl start rps-proxy-engine`), or run it as the service's account.",
        )
    try:
        take(
            handle,
            ServiceError(
                f"Did not start the engine: another engine runs on {settings.engine_path}.",
                "Stop that first: `systemctl stop rps-proxy-engine` if its unit started it.",
            ),
        )
    except ServiceError:
        os.close(handle)
        raise
    os.set_inheritable(handle, True)  # through the exec


def engine_socket(settings: Settings) -> socket.socket:
    """Bind the Unix socket for the engine; only its group and the service can connect."""
    path = engine_directory(settings) / SOCKET_FILE
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # of a service that was killed; only one runs on the directory
        bound.bind(str(path))
        path.chmod(0o660)
        os.chown(path, -1, _group(settings))
    except OSError as error:
        bound.close()
        too_long = error.errno is None  # Python raises it before the call of the kernel
        raise ServiceError(
            f"The service cannot listen on {path}: {error.strerror or error}",
            "The path of a Unix socket has at most 107 characters: set a shorter `engine_directory`."
            if too_long
            else "Give its directory to the service's account and free space on its disk.",
        ) from error
    return bound


def _group(settings: Settings) -> int:
    """Return the id of the engine's group; default: this process's.

    Raises:
        ServiceError: there is no such group.
    """
    name = settings.engine_group
    if name is None:
        return os.getegid()
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ServiceError(
            f"Cannot share files with the engine: this machine has no group {name}.",
            f"Install the engine's package, or set its group (`{settings.engine_kind}.group`).",
        ) from None
