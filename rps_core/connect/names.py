"""Names of hosts for completion: those of connect.yaml, and those of the user's ssh.

Read without YAML's parser, which takes longer to load; a file that cannot be read offers nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rps_core.system import paths

_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)\s*:", re.MULTILINE)
_PATTERN = frozenset("*?!")
_INCLUDES = 16  # as deep as ssh follows them (READCONF_MAX_DEPTH in readconf.c)


def names(incomplete: str) -> list[str]:
    """Return the names that begin with `incomplete`; a `user@` before it stays."""
    user, at, begun = incomplete.rpartition("@")
    found = (
        {*_configured(), *_of_ssh(Path("config"), 0)} if not at else {*_of_ssh(Path("config"), 0)}
    )
    return sorted(f"{user}{at}{name}" for name in found if name.startswith(begun))


def _configured() -> list[str]:
    with suppress(OSError, UnicodeDecodeError):
        file = paths.config_file().with_name("connect.yaml")
        return _NAME.findall(file.read_text("utf-8"))
    return []


def _of_ssh(file: Path, depth: int) -> Iterator[str]:
    """Yield the hosts that ssh_config(5) names without a pattern."""
    directory = paths.home() / ".ssh"
    text = ""
    with suppress(OSError):
        text = (directory / file).read_text("utf-8", "replace")
    for line in text.splitlines():
        keyword, *words = line.replace("=", " ", 1).replace('"', " ").split() or [""]
        if keyword.lower() == "host":
            yield from (word for word in words if not _PATTERN.intersection(word))
        elif keyword.lower() == "include" and depth < _INCLUDES:
            for word in words:
                place = os.path.expanduser(word)  # noqa: PTH111 - a pattern, not a path
                with suppress(OSError, ValueError, NotImplementedError):
                    for included in sorted(_matching(directory, place)):
                        yield from _of_ssh(included, depth + 1)


def _matching(directory: Path, pattern: str) -> Iterator[Path]:
    if pattern.startswith("/"):
        return Path("/").glob(pattern[1:])
    return directory.glob(pattern)
