"""What the engines with a life of their own have in common: where they and the service meet."""

from __future__ import annotations

import contextlib
import grp
import os
import socket
from pathlib import Path

from rps_core.errors import ServiceError
from rps_proxy.engines import Engine, apache, haproxy
from rps_proxy.holding import take
from rps_proxy.settings import Settings

SOCKET_FILE = "service.sock"


def external(
    settings: Settings, certificate: bytes, upstream_ca: bytes, embedded: Engine
) -> Engine:
    """The configured engine's side in the service, and all that the engine starts from.

    It need not run yet. `certificate` is the front's, with its key; both are PEM. `embedded` is for what
    the engine leaves to the service.

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
        if settings.engine_kind == "apache":
            return apache.prepare(settings, directory, certificate, upstream_ca, embedded)
        return haproxy.prepare(settings, directory, certificate, upstream_ca)
    except OSError as error:
        raise ServiceError(
            f"The engine's directory {directory} cannot be written: {error.strerror or error}",
            "Make it the service's own, and see that its disk is not full (`engine_directory`).",
        ) from error


def engine_directory(settings: Settings) -> Path:
    """Where service and engine meet: the socket, the engine's configuration and its routes.

    Raises:
        ServiceError: it cannot be made, or is somebody else's.
    """
    directory = settings.engine_path
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ServiceError(
            f"The engine's directory {directory} cannot be used: {error.strerror}",
            "Make it, for the service's account (`engine_directory`).",
        ) from error
    try:
        status = os.fstat(handle)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise ServiceError(
                f"The engine's directory {directory} can be changed by others than the service.",
                f"Make it the service's own: chown it, and chmod 750 {directory}",
            )
        # The engine's account comes in by its group; a former one's is to read no keys there.
        if status.st_gid != (group := _group(settings)):
            os.fchown(handle, -1, group)
        os.fchmod(handle, 0o750)
    finally:
        os.close(handle)
    return directory


def hold_engine(settings: Settings) -> None:
    """Keep another engine from this directory for as long as this process, and what it becomes, lives.

    HAProxy would share the port with a second one and leave its control socket to that. Then it would carry
    the routes of that moment for ever, revoked ones too.

    Raises:
        ServiceError: one runs already, or this is root where the service is not.
    """
    directory = settings.engine_path / "run"
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    owner = os.fstat(handle).st_uid
    if os.geteuid() == 0 and owner != 0 and settings.engine_kind == "haproxy":
        os.close(handle)
        raise ServiceError(
            "HAProxy would stay root, and leave files that are in the way of its own account.",
            "Start it by its unit (`systemctl start rps-proxy-engine`), or as the service's account.",
        )
    try:
        take(
            handle,
            ServiceError(
                f"An engine is running on {settings.engine_path} already.",
                "Stop it first: `systemctl stop rps-proxy-engine`, where its unit started it.",
            ),
        )
    except ServiceError:
        os.close(handle)
        raise
    os.set_inheritable(handle, True)  # through the exec


def engine_socket(settings: Settings) -> socket.socket:
    """The bound Unix socket on which the engine reaches the service; nobody but it and we can."""
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
        raise ServiceError(
            f"The service cannot listen on {path}: {error.strerror}",
            "The path of a Unix socket has at most 107 characters; see `engine_directory`.",
        ) from error
    return bound


def _group(settings: Settings) -> int:
    """The engine's group, which is ours where it runs as we do.

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
            f"There is no group {name} on this machine.",
            f"Install the engine's package, or name its group (`{settings.engine_kind}.group`).",
        ) from None
