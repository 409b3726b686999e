"""Cache of merged configurations, each with everything that it was made of.

Reading the layers' files is cheap, parsing and merging them is not. A cached result is used only if the text
of each file, each variable, each option and the code that reads them are the same: an edited file is always
noticed, whatever its times are. A cache file that is damaged, or that another user could have written, is
replaced.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, TypeVar

from rps_core import units
from rps_core.config.layers import Origin, Text
from rps_core.system import cache, paths
from rps_core.version import __version__

_KEPT = 8  # of several clusters and sets of options on one home directory; some 20 KB each
CONFIGURATION = "configuration"  # the file's name
# Keys that no setting has: for a dataclass's class, and for the items of a tuple.
_CLASS, _TUPLE = "=", "()"

Schema = TypeVar("Schema")


def inputs(
    code: Sequence[str],
    cluster: str,
    texts: Sequence[Text],
    variables: Mapping[str, str],
    command: Mapping[str, object],
) -> str:
    """Return everything a configuration is made of, in one line.

    It includes the code's files, which change between versions in a clone.
    """
    states = [(path, os.stat(path)) for path in code]  # noqa: PTH116 - at each start
    sources = [(path, state.st_mtime_ns, state.st_size) for path, state in states]
    layers = [(text.layer, text.source, text.text) for text in texts]
    given = [cluster, layers, dict(variables), command]
    return json.dumps([__version__, sys.version_info[:2], sources, *given])


def recall(
    schema: type[Schema], made_of: str, name: str = CONFIGURATION
) -> tuple[Schema, dict[str, Origin]] | None:
    """Return the settings and the keys' origins; None: they are not cached."""
    lines = _read(name)
    try:
        found = json.loads(lines[lines.index(made_of) + 1])
        origins = {key: Origin(*origin) for key, origin in found["origins"].items()}
        settings = _built(found["settings"])
        return (settings, origins) if isinstance(settings, schema) else None
    except (ValueError, IndexError, KeyError, TypeError, AttributeError):
        return None  # not cached, or damaged


def code_files() -> list[str]:
    """Return the files that turn texts into settings: this package, and the parsers of its values."""
    here = os.path.dirname(__file__)  # noqa: PTH120 - at each start, and os.path is loaded
    modules = sorted(entry.path for entry in os.scandir(here) if entry.name.endswith(".py"))
    return [*modules, units.__file__]


def note(
    made_of: str,
    settings: Any,
    origins: Mapping[str, Origin],
    name: str = CONFIGURATION,
    most: int = _KEPT,
) -> None:
    """Cache the settings in place of the least recently used, if possible."""
    try:
        plain = _plain(settings)
    except ValueError:
        return
    found = {
        "settings": plain,
        "origins": {key: (origin.layer, origin.where) for key, origin in origins.items()},
    }
    lines = _read(name)[: 2 * most]
    pairs = [pair for pair in zip(lines[::2], lines[1::2], strict=False) if pair[0] != made_of]
    kept = [(made_of, json.dumps(found)), *pairs][:most]
    cache.replace(paths.cache_dir() / name, "".join(f"{line}\n" for pair in kept for line in pair))


def _read(name: str) -> list[str]:
    return cache.read(paths.cache_dir() / name).splitlines()


def _plain(value: Any) -> Any:
    """Return a value of the schema for JSON; a dataclass with its class.

    Raises:
        ValueError: a mapping of the user's has a key that stands for something else here.
    """
    if is_dataclass(value):
        kind = type(value)
        values = {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
        return {_CLASS: f"{kind.__module__}:{kind.__name__}", **values}
    if isinstance(value, dict):
        if not value.keys().isdisjoint((_CLASS, _TUPLE)):
            raise ValueError("it has a key of the cache")
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return {_TUPLE: [_plain(item) for item in value]}
    return value


def _built(value: Any) -> Any:
    """Build a value of the schema from JSON: dataclasses and tuples.

    By the class in it, not by the types of its fields: to evaluate these is most of the work.

    Raises:
        TypeError, KeyError, AttributeError: the JSON has another form.
    """
    if isinstance(value, dict):
        values = {name: _built(item) for name, item in value.items()}
        if _TUPLE in values:
            return tuple(map(_built, values[_TUPLE]))
        place = values.pop(_CLASS, None)
        if place is None:
            return values
        module, _, name = place.partition(":")
        kind = getattr(sys.modules[module], name)
        if not (isinstance(kind, type) and is_dataclass(kind)):
            raise TypeError(f"{place} is no class of settings")
        return kind(**values)
    return value
