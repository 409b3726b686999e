"""Replace a file atomically: readers see the former file or the whole new one."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

_HOUR = 3600.0  # seconds after which no command is still writing a file
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def replace_file(path: Path, content: bytes, mode: int = 0o600, *, durable: bool = True) -> None:
    """Write a file of this mode, less the umask, under a temporary name, and rename it to `path`.

    `durable`: the content is on disk before the name. The name itself is not: that takes `sync_directory`.

    Raises:
        OSError: it cannot be written, and names it; `path` is as before, and no temporary file stays.
    """
    temporary = beside(path)
    with naming(path), _removed_on_failure(temporary):
        write_new(temporary, content, mode, durable=durable)
        temporary.replace(path)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in an error: the system's own has no name where a write fails, as on a full disk.

    An error without a name is taken for a defect.
    """
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def remove_unfinished(path: Path) -> None:
    """Remove what killed processes left of `path` under temporary names; an hour old, so not in use."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9]+(\.[0-9]+)?")
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if name.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _HOUR:
                        os.unlink(entry.path)  # noqa: PTH108 - a path as text


def beside(path: Path) -> Path:
    """Return a temporary name for `path`, unique among the processes of this host."""
    return path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")


def write_new(
    path: Path, content: bytes, mode: int = 0o600, *, group: int = -1, durable: bool = True
) -> None:
    """Write a file that does not exist yet.

    `group`: the id of its group; with one, `mode` is set in spite of the umask (-1: the process's group).

    Raises:
        OSError: it exists, or cannot be written; what a full disk took of it is removed.
    """
    # Closed to others until it has its group.
    handle = os.open(path, _FLAGS, mode if group == -1 else 0o600)
    with naming(path), _removed_on_failure(path), os.fdopen(handle, "wb") as stream:
        if group != -1:
            os.fchown(handle, -1, group)
            os.fchmod(handle, mode)
        stream.write(content)
        stream.flush()
        if durable:
            os.fsync(handle)


@contextlib.contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def sync_directory(path: Path) -> None:
    """Sync a directory: until then a power failure may bring back the former file."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
