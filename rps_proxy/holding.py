"""One at a time: locks on directories, which the system lets go of however a process ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from rps_core.errors import ServiceError

# Tenths of a second: who was told to stop, or what one that was killed had started, may still be at it.
TRIES = 30


def take(handle: int, refusal: ServiceError) -> None:
    """Lock an open file or directory; whoever inherits the descriptor holds it, too.

    Raises:
        ServiceError: `refusal`; another holds it, and did not let go of it soon.
    """
    for left in range(TRIES, -1, -1):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not left:
                raise refusal from None
            time.sleep(0.1)


@contextlib.contextmanager
def only_one(directory: Path, key: str = "directory") -> Iterator[int]:
    """Hold the directory for this process.

    It yields the locked descriptor, to be inherited by what shall hold the directory as well.

    Raises:
        ServiceError: another service holds it, and did not let go of it soon.
    """
    handle = os.open(
        directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        take(
            handle,
            ServiceError(
                f"Another service is running on {directory}.",
                f"Stop it first, or give this one a directory of its own (`{key}`).",
            ),
        )
        yield handle
    finally:
        os.close(handle)
