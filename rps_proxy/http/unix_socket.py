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
    """Bind a socket with mode 0600, and remove its file at the end.

    Raises:
        ServiceError: it cannot be bound; with `hint`.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # of a service that was killed; only one runs on the directory
        mask = os.umask(0o177)  # a later chmod would leave it open to others for a moment
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
    """Shorten `path` for bind and connect, which take 107 characters at most."""
    handle = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}/{path.name}"
    finally:
        os.close(handle)
