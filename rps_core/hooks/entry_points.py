"""Find the installed plugins: entry points in `*.dist-info` directories.

What importlib.metadata finds there, without its import, which alone takes longer than a cluster's
detection. Nothing is remembered: a plugin that was installed a moment ago is seen.
The files: https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Protocol


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
    return [
        EntryPoint(name, value, metadata)
        for metadata in _distributions()
        for name, value in _of_group(group, metadata)
    ]


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
