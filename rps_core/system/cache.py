"""Read and write the cache, ~/.cache/rps: files that may be lost at any time."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Any

from rps_core.errors import UsageError
from rps_core.system import paths
from rps_core.system.files import remove_unfinished, replace_file


def replace(path: Path, content: str | bytes) -> None:
    """Replace a file (mode 0600) atomically by one with this content.

    Nothing is cached if the file cannot be written, or if another user could replace it.
    """
    if not _is_safe(path.parent):
        return
    with contextlib.suppress(OSError):
        paths.make_directory(path.parent)
        remove_unfinished(path)
        data = content.encode() if isinstance(content, str) else content
        replace_file(path, data, durable=False)


def read(path: Path) -> str:
    """Return a file's text; empty if it is missing or another user could write it."""
    try:
        return read_bytes(path).decode()
    except ValueError:
        return ""


def read_bytes(path: Path) -> bytes:
    """Return a file's content; empty if it is missing or another user could write it."""
    if not _is_safe(path.parent):
        return b""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            seen = os.fstat(descriptor)
            ours = seen.st_uid == os.geteuid() and not stat.S_IMODE(seen.st_mode) & 0o077
            return stream.read() if ours and stat.S_ISREG(seen.st_mode) else b""
    except OSError:
        return b""


def read_object(path: Path) -> dict[str, Any]:
    """Return a file's JSON object; empty if there is none, or `read` returns nothing."""
    import json

    try:
        found = json.loads(read(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def put(path: Path, key: str, value: Any) -> None:
    """Set a key of a file's JSON object; nothing is cached where `replace` caches nothing."""
    import json

    replace(path, json.dumps({**read_object(path), key: value}))


def drop(path: Path, key: str) -> None:
    """Remove a key of a file's JSON object."""
    import json

    known = read_object(path)
    if known.pop(key, None) is not None:
        replace(path, json.dumps(known))


def _is_safe(directory: Path) -> bool:
    try:
        paths.check(directory, "")
    except UsageError:  # `rps doctor` reports it
        return False
    return True
