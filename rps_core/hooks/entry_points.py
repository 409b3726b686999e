"""Find the installed plugins: entry points in `*.dist-info` directories.

What importlib.metadata finds there, without its import, which alone takes longer than a cluster's
detection. What was found is remembered until a directory of installed packages, or a file that names a
plugin, changes: an installation with JupyterLab has 150 of these files.
The files: https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Protocol

from rps_core.system import cache, paths

_CACHE = "plugins.json"
# Seconds: a later change within the same tick of a file system's clock could not be seen.
_SETTLED = 2.0

_State = list[str | int]  # of a file or directory: its path, time and size


class Found(Protocol):
    """An entry point: one of ours, or of importlib.metadata."""

    @property
    def name(self) -> str:
        """What the plugin is called."""
        ...

    @property
    def value(self) -> str:
        """The module, and after a colon the object in it."""
        ...

    @property
    def dist(self) -> Any:
        """Its importlib.metadata.Distribution, or None."""
        ...

    def load(self) -> Any:
        """Import it."""
        ...


class EntryPoint:
    """One entry point; `metadata` is the directory of its distribution."""

    def __init__(self, name: str, value: str, metadata: str) -> None:
        self.name = name
        self.value = value
        self._metadata = metadata

    @property
    def file(self) -> str:
        """The file that names it."""
        return f"{self._metadata}/entry_points.txt"

    @property
    def dist(self) -> Any:
        """The distribution, for its name and version."""
        from importlib.metadata import Distribution
        from pathlib import Path

        return Distribution.at(Path(self._metadata))

    def load(self) -> Any:
        """Import the module, or the object in it."""
        module, _, attributes = self.value.partition("[")[0].strip().partition(":")
        loaded: Any = import_module(module.strip())
        for attribute in filter(None, attributes.strip().split(".")):
            loaded = getattr(loaded, attribute)
        return loaded


def entry_points(group: str) -> list[EntryPoint]:
    """Return a group's entry points; of two distributions the first counts."""
    file = paths.cache_dir() / _CACHE
    directories = [_state(directory or ".") for directory in sys.path]
    known = cache.read_object(file)
    found = _remembered(known, group, directories)
    if found is None:
        found = [
            [name, value, metadata]
            for metadata in _distributions()
            for name, value in _of_group(group, metadata)
        ]
        files = [_state(f"{metadata}/entry_points.txt") for metadata in _naming(found)]
        if _is_settled([*directories, *files]):
            made_of = {"group": group, "directories": directories, "files": files}
            cache.replace(file, json.dumps({**made_of, "found": found}))
    return [EntryPoint(name, value, metadata) for name, value, metadata in found]


def _remembered(
    known: dict[str, Any], group: str, directories: list[_State]
) -> list[list[str]] | None:
    """Return what was found the last time; None: something has changed since."""
    try:
        is_same = known["group"] == group and known["directories"] == directories
        if is_same and known["files"] == [_state(path) for path, *_ in known["files"]]:
            return [[str(name), str(value), str(place)] for name, value, place in known["found"]]
    except (KeyError, TypeError, ValueError):
        pass  # not remembered, or damaged
    return None


def _naming(found: list[list[str]]) -> list[str]:
    """Return the directories of the distributions that name a plugin, and of those that are edited in place.

    An `egg-info` is written again where it is, in a project's own directory (`setup.py develop`).
    """
    in_place = [metadata for metadata in _distributions() if metadata.endswith(".egg-info")]
    return list(dict.fromkeys([*(metadata for *_, metadata in found), *in_place]))


def _state(path: str) -> _State:
    """Return a path with its time and size; without them: it is not there."""
    try:
        state = os.stat(path)  # noqa: PTH116 - at each start
    except OSError:
        return [path]
    return [path, state.st_mtime_ns, state.st_size]


def _is_settled(states: list[_State]) -> bool:
    latest = max((int(state[1]) for state in states if len(state) > 1), default=0)
    return 0 <= latest < (time.time() - _SETTLED) * 1e9


def _distributions() -> Iterator[str]:
    seen = set()
    for directory in sys.path:
        try:
            names = os.listdir(directory or ".")  # noqa: PTH208 - names are all that is wanted
        except OSError:
            continue  # an archive of the standard library, or not there
        for name in names:
            stem, _, kind = name.rpartition(".")
            if kind in ("dist-info", "egg-info"):
                project = re.sub(r"[-_.]+", "_", stem.partition("-")[0]).lower()
                if project not in seen:
                    seen.add(project)
                    yield os.path.join(directory, name)  # noqa: PTH118 - hundreds of them


def _of_group(group: str, metadata: str) -> Iterator[tuple[str, str]]:
    try:
        # Characters that are not UTF-8 make a name that cannot be imported, which is reported.
        with open(f"{metadata}/entry_points.txt", encoding="utf-8", errors="replace") as stream:  # noqa: PTH123
            lines = stream.read().splitlines()
    except OSError:
        return  # it has none
    section = ""
    for line in map(str.strip, lines):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif section == group and line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            if equals:
                yield name.strip(), value.strip()
