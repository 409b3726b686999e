"""What is remembered below ~/.cache/rps: files that may be lost at any time."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def replace(path: Path, text: str) -> None:
    """Put `text` (mode 0600) in the place of a file, whole. What cannot be written is not remembered."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # of a command that was killed
        with os.fdopen(os.open(temporary, flags, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
        temporary.replace(path)
