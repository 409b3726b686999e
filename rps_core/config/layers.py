"""Layers of configuration: YAML files, options, variables; their origins.

Used by the launcher (`rps_core.config.settings`) and by the service (`rps_proxy.settings`); `merge` puts the
layers together. The YAML parser is imported when something is parsed: the launcher keeps the merged
result (`cache`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rps_core.errors import UsageError
from rps_core.system import paths
from rps_core.values import dataclass

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from rps_core.config.mistakes import Mistakes

_MOST_PARTS = 16  # of a dotted key
MOST_TEXT = 128 << 10  # characters of a file; PyYAML reads that much in a second or two
USER = "user"  # the layer of the user's own file


@dataclass(frozen=True, slots=True)
class Layer:
    """One source of values. `lines` maps dotted keys to lines of `source`."""

    name: str
    source: str
    values: dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)

    def where(self, key: str) -> str:
        """`source:line` of a dotted key, or of its nearest parent that has a line."""
        while key:
            if key in self.lines:
                return f"{self.source}:{self.lines[key]}"
            key = key.rpartition(".")[0]
        return self.source

    def section(self, key: str) -> Layer:
        """Return the layer of a nested mapping (`sites: {<cluster>: {...}}`).

        Raises:
            UsageError: the key has a value that is not a mapping.
        """
        values: Any = self.values
        above = ""
        for part in key.split("."):
            values = self._mapping(above, values).get(part)
            above = f"{above}.{part}" if above else part
        prefix = f"{key}."
        lines = {
            name.removeprefix(prefix): line
            for name, line in self.lines.items()
            if name.startswith(prefix)
        }
        return Layer(f"{self.name}, {key}", self.source, self._mapping(key, values), lines)

    def _mapping(self, key: str, values: Any) -> dict[str, Any]:
        if values is not None and not isinstance(values, dict):
            raise UsageError(
                f"{self.where(key)}: `{key}` must be a mapping of keys to values",
                f"Set its keys, such as `{key}.KEY`.",
            )
        return values or {}

    def without(self, key: str) -> Layer:
        """Return the layer without one top-level key."""
        values = {name: value for name, value in self.values.items() if name != key}
        return Layer(self.name, self.source, values, self.lines)


@dataclass(frozen=True, slots=True)
class Origin:
    """A value's origin: its layer, and `file:line`, option or variable."""

    layer: str
    where: str


@dataclass(frozen=True, slots=True)
class Text:
    """A YAML file that is not parsed yet: the layer's name, path and text."""

    layer: str
    source: str
    text: str

    def parsed(self, mistakes: Mistakes | None = None) -> Layer:
        """Parse it.

        Raises:
            UsageError: see `yaml_text.parse`.
        """
        from rps_core.config import yaml_text

        document = yaml_text.parse(self.text, self.source, mistakes)
        return Layer(self.layer, self.source, document.values, document.lines)


def packaged_layer(name: str, resource: Traversable) -> Layer:
    """Read and parse a YAML file of an installed package."""
    return packaged_text(name, resource).parsed()


def packaged_text(name: str, resource: Traversable) -> Text:
    """Read a YAML file of an installed package."""
    return Text(name, str(resource), resource.read_text("utf-8"))


def file_layer(name: str, path: Path, mistakes: Mistakes | None = None) -> Layer | None:
    """Read and parse a YAML file on disk; None if there is none. See `file_text`.

    Raises:
        UsageError: see `file_text` and `yaml_text.parse`.
    """
    found = file_text(name, path)
    return found.parsed(mistakes) if found else None


def file_text(name: str, path: Path) -> Text | None:
    """Read a YAML file on disk; None if there is none.

    The user's own file (the layer `USER`) names what jobs run (`notebook.prologue`, `notebook.jupyter`), so
    no other user may be able to write or replace it. The administrator's is where the administrator says.

    Raises:
        UsageError: it cannot be read, or another user could have written it.
    """
    if name == USER:
        paths.check(
            path,
            "The file names what your jobs run. Make it your own, or set XDG_CONFIG_HOME to a directory of "
            "yours.",
        )
    return read_text(name, path)


def read_text(name: str, path: Path) -> Text | None:
    """Read a YAML file wherever it lies; None if there is none.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(MOST_TEXT + 1)  # more is refused, and it may be endless
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(
            f"{path}: cannot be read: {reason}", "Fix its permissions or remove it."
        ) from None
    return Text(name, str(path), text)


def option_layer(assignments: Sequence[str], mistakes: Mistakes, name: str = "options") -> Layer:
    """Return the layer of `--set key=value`; `mistakes` collects invalid ones."""
    from rps_core.config import yaml_text

    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or not all(part and part.isprintable() for part in key.split(".")):
            mistakes.add(
                f"--set {assignment}: this is not `key=value`",
                "For example: --set job.walltime=02:00:00",
            )
            continue
        with mistakes.collected():
            put(values, key, yaml_text.parse_value(text, f"--set {key}"))
    return Layer(name, "--set", values)


def flat_layer(name: str, source: str, values: Mapping[str, object]) -> Layer:
    """Return a layer of values by dotted key.

    Raises:
        UsageError: see `put`.
    """
    nested: dict[str, object] = {}
    for key, value in values.items():
        put(nested, key, value)
    return Layer(name, source, nested)


def put(values: dict[str, Any], key: str, value: object) -> None:
    """Set a dotted key in nested dicts; merge two mappings.

    Raises:
        UsageError: the key is below a value, or is itself a section of keys; or it has too many parts.
    """
    *parents, leaf = key.split(".")
    if len(parents) >= _MOST_PARTS:
        raise UsageError(f"`{key[:60]}…` is not a key: it has {len(parents) + 1} parts")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise _set_twice(key)
    known = values.get(leaf)
    if isinstance(known, dict) and isinstance(value, dict):
        value = {**known, **value}
    elif known is not None and isinstance(known, dict) != isinstance(value, dict):
        raise _set_twice(key)
    values[leaf] = value


def _set_twice(key: str) -> UsageError:
    return UsageError(
        f"`{key}` is set twice, once as a value and once as keys below it", "Give one of the two."
    )


def value(values: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key in nested mappings, whose names may hold dots.

    Raises:
        KeyError: there is no such key.
    """
    if key in values:
        return values[key]
    for name, inner in values.items():
        if key.startswith(f"{name}.") and isinstance(inner, Mapping):
            with suppress(KeyError):
                return value(inner, key.removeprefix(f"{name}."))
    raise KeyError(key)
