"""Find and check the directory of the cache (`notebook.cache`), and prune it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection
from pathlib import Path

from rps_core.errors import UsageError
from rps_core.node.builder.cache import Cache
from rps_core.system import paths
from rps_core.values import dataclass

_LEAST = 100 << 20  # bytes that a disk must have free; ipykernel's environment takes 80 MB
_JUST_NOW = 3600.0  # seconds: a session that was just started may not have its record yet
_DAY = 86400.0
_WAY_OUT = "Set notebook.cache to a directory of your own."


def cache(setting: str | None, where: str) -> Cache:
    """Return the cache, whose directory is made if it is missing.

    Args:
        setting: `notebook.cache`; variables in it are replaced.
        where: where it was set, for an error message.

    Raises:
        UsageError: it cannot be made, or another user can write to it.
    """
    root = directory(setting, where)
    try:
        paths.make_directory(root)
    except OSError as error:
        raise UsageError(f"{where}: {error.filename or root}: {error.strerror}", _WAY_OUT) from None
    paths.check_private(root, _WAY_OUT)
    return Cache(str(root))


def directory(setting: str | None, where: str) -> Path:
    """Return the path of the cache's directory.

    Raises:
        UsageError: it is not absolute, or names a variable that is not set.
    """
    if not setting:
        return paths.cache_dir() / "environments"
    text = os.path.expandvars(setting)
    if re.search(r"\$\w|\$\{", text):
        raise UsageError(
            f"{where}: {setting}: one of its variables is not set",
            "Use variables that each shell has, as $USER.",
        )
    path = Path(text).expanduser()
    if not path.is_absolute():
        raise UsageError(f"{where}: {setting} is not an absolute path", _WAY_OUT)
    return path


def check_space(root: str) -> None:
    """Check that a build can begin.

    Raises:
        UsageError: the disk is full, or read-only.
    """
    try:
        state = os.statvfs(root)
    except OSError:
        return  # the build reports it
    free = state.f_bavail * state.f_frsize
    if free < _LEAST or not os.access(root, os.W_OK):
        what = f"{free >> 20} MB free" if free < _LEAST else "not writable"
        raise UsageError(
            f"Cannot build an environment in {root}: {what}",
            "Remove environments (rps env list, rps env remove), or set notebook.cache to another directory.",
        )


@dataclass(frozen=True, slots=True)
class Pruned:
    """An environment that was removed, and why."""

    label: str
    reason: str


def prune(
    environments: Cache, *, days: float, most: int | None, in_use: Collection[str]
) -> list[Pruned]:
    """Remove environments that were not used for long, then the longest unused ones beyond a size.

    Args:
        environments: the cache.
        days: of those unused for longer, all are removed.
        most: bytes that all may take together; None: no limit.
        in_use: the prefixes of running sessions, which stay.
    """
    now = time.time()
    removed: list[Pruned] = []
    kept = []
    for name in environments.names():
        found = environments.entry(name)
        if found is None:
            continue
        age = now - environments.used(name)
        if is_in_use(found["tree"], in_use) or age < _JUST_NOW:
            kept.append((0.0, name, found))
        elif age > days * _DAY:
            environments.remove(name)
            removed.append(Pruned(found["label"], f"not used for {age / _DAY:.0f} days"))
        else:
            kept.append((age, name, found))
    total = sum(found["size"] for _, _, found in kept)
    for age, name, found in sorted(kept, key=lambda entry: entry[0], reverse=True):
        if most is None or total <= most or age == 0.0:
            break
        environments.remove(name)
        total -= found["size"]
        removed.append(Pruned(found["label"], "the cache is larger than notebook.cache_size"))
    for tree in environments.orphans():
        if not is_in_use(tree, in_use):
            environments.remove_tree(tree)
    return removed


def is_in_use(tree: str, in_use: Collection[str]) -> bool:
    """Return whether a running session's prefix is in a tree."""
    return any(prefix == tree or prefix.startswith(f"{tree}/") for prefix in in_use)
