"""Locks on directories, which the kernel releases when the process ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from rps_core.errors import ServiceError

# Seconds: a service that is stopping, or the children of a killed one, may still hold the lock.
PATIENCE = 3.0


def take(handle: int, refusal: ServiceError, deadline: float | None = None) -> None:
    """Lock an open file or directory; a child with the descriptor holds it too.

    Args:
        handle: the descriptor.
        refusal: the error if another process keeps the lock.
        deadline: until when to wait for it, as `time.monotonic` counts; None: for `PATIENCE`.

    Raises:
        ServiceError: `refusal`; another process held the lock until then.
    """
    if deadline is None:
        deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise refusal from None
            time.sleep(0.02)


@contextlib.contextmanager
def only_one(directory: Path, key: str = "directory") -> Iterator[int]:
    """Hold the directory for this process.

    Yields the locked descriptor; children that inherit it hold the directory too.

    Raises:
        ServiceError: another service holds the lock and did not release it in 3 s.
    """
    handle = os.open(
        directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        take(
            handle,
            ServiceError(
                f"Another service is running on {directory}.",
                f"Stop it, or set another directory for this service (`{key}`).",
            ),
        )
        yield handle
    finally:
        os.close(handle)
