"""Unix sockets of the service's own account. Standard library only."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from rps_core.errors import ServiceError


@contextlib.contextmanager
def private_socket(path: Path, hint: str) -> Iterator[socket.socket]:
    """A bound socket, mode 0600; its file goes with it.

    Raises:
        ServiceError: it cannot be made; with `hint`.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # of a service that was killed; only one runs on the directory
        mask = os.umask(0o177)  # never open to others, not for the moment until a chmod
        try:
            with short_path(path) as short:
                bound.bind(short)
        finally:
            os.umask(mask)
    except OSError as error:
        bound.close()
        raise ServiceError(
            f"The service cannot listen on {path}: {error.strerror}", hint
        ) from error
    try:
        yield bound
    finally:
        bound.close()
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """`path` for bind and connect, which take 107 characters at most, however long it is."""
    handle = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}/{path.name}"
    finally:
        os.close(handle)
