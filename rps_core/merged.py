"""The configuration as it was merged last, remembered with all that it was made of.

Reading the layers' files is cheap, parsing and merging them is not. What is remembered is taken only
where the text of each file, each variable, each option and the code that reads them are the same: an
edited file is always seen, whatever its times say. A file that is damaged, or that somebody else could
have written, is passed over and replaced.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from rps_core import cache, paths
from rps_core.config import Origin, Text
from rps_core.version import __version__

_KEPT = 8  # of several clusters and sets of options on one home directory; some 20 KB each

Schema = TypeVar("Schema")


def inputs(
    code: Sequence[Path],
    cluster: str,
    texts: Sequence[Text],
    variables: Mapping[str, str],
    command: Mapping[str, object],
) -> str:
    """All that a configuration is made of, as one line. In a clone the code changes between versions."""
    sources = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in code]
    layers = [(text.layer, text.source, text.text) for text in texts]
    given = [cluster, layers, dict(variables), command]
    return json.dumps([__version__, sys.version_info[:2], sources, *given])


def recall(schema: type[Schema], made_of: str) -> tuple[Schema, dict[str, Origin]] | None:
    """The settings and the origin of each key; None where they have to be merged."""
    lines = _read()
    try:
        found = json.loads(lines[lines.index(made_of) + 1])
        origins = {key: Origin(*origin) for key, origin in found["origins"].items()}
        return _built(schema, found["settings"]), origins
    except (ValueError, IndexError, KeyError, TypeError, AttributeError):
        return None  # not remembered, or damaged


def note(made_of: str, settings: Any, origins: Mapping[str, Origin]) -> None:
    """Remember it, in place of what was not used for longest. What cannot be written is merged again."""
    found = {
        "settings": asdict(settings),
        "origins": {key: (origin.layer, origin.where) for key, origin in origins.items()},
    }
    lines = _read()[: 2 * _KEPT]
    pairs = [pair for pair in zip(lines[::2], lines[1::2], strict=False) if pair[0] != made_of]
    kept = [(made_of, json.dumps(found)), *pairs][:_KEPT]
    cache.replace(_file(), "".join(f"{line}\n" for pair in kept for line in pair))


def _file() -> Path:
    return paths.cache_dir() / "configuration"


def _read() -> list[str]:
    """Nothing where others could have written it."""
    try:
        descriptor = os.open(_file(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, encoding="utf-8") as stream:
            seen = os.fstat(descriptor)
            ours = seen.st_uid == os.geteuid() and not stat.S_IMODE(seen.st_mode) & 0o077
            return stream.read().splitlines() if ours and stat.S_ISREG(seen.st_mode) else []
    except (OSError, ValueError):
        return []


def _built(kind: Any, value: Any) -> Any:
    """A value of the schema from its JSON, where tuples are lists and sections mappings.

    Raises:
        TypeError, KeyError, AttributeError: it is not one.
    """
    if isinstance(kind, type) and is_dataclass(kind):
        kinds = get_type_hints(kind)
        return kind(**{name: _built(kinds[name], item) for name, item in value.items()})
    if get_origin(kind) is tuple:
        return tuple(value)
    if get_origin(kind) is dict:
        entry = get_args(kind)[1]
        return {name: _built(entry, item) for name, item in value.items()}
    return value
