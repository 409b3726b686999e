"""Layers of configuration, merged onto a typed schema, with the origin of every value kept.

Used by the launcher (`rps_core.settings`) and by the service (`rps_proxy.settings`). The only module
that imports omegaconf, which does the merging and the types; file, line and suggestion are ours.
There is no interpolation: `${HOME}` in a value is text for a shell to read. It and the YAML parser are
imported when something is merged or parsed: the launcher remembers a result (`merged`).
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, get_args, get_origin, get_type_hints

from rps_core.errors import UsageError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


Schema = TypeVar("Schema")


@dataclass(frozen=True, slots=True)
class Layer:
    """One source of values. `lines` maps dotted keys to lines of `source`, where it has lines."""

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
        """The layer that a nested mapping makes, as in `sites: {<cluster>: {...}}`."""
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
            raise UsageError(f"{self.where(key)}: `{key}` must be a mapping of keys to values")
        return values or {}

    def without(self, key: str) -> Layer:
        """The same layer less one top-level key."""
        values = {name: value for name, value in self.values.items() if name != key}
        return Layer(self.name, self.source, values, self.lines)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from: the layer's name, and `file:line` (or the option, or the variable)."""

    layer: str
    where: str


@dataclass(frozen=True, slots=True)
class Text:
    """A YAML file that was read and not yet parsed: the name of its layer, where it is, all of it."""

    layer: str
    source: str
    text: str

    def parsed(self) -> Layer:
        """The layer.

        Raises:
            UsageError: it is not YAML.
        """
        from rps_core import yaml_text

        document = yaml_text.parse(self.text, self.source)
        return Layer(self.layer, self.source, document.values, document.lines)


def packaged_layer(name: str, resource: Traversable) -> Layer:
    """A YAML file inside an installed package."""
    return packaged_text(name, resource).parsed()


def packaged_text(name: str, resource: Traversable) -> Text:
    """As `packaged_layer`, not yet parsed."""
    return Text(name, str(resource), resource.read_text("utf-8"))


def file_layer(name: str, path: Path) -> Layer | None:
    """A YAML file on disk; None where there is none.

    Raises:
        UsageError: it is there and cannot be read, or is not YAML.
    """
    found = file_text(name, path)
    return found.parsed() if found else None


def file_text(name: str, path: Path) -> Text | None:
    """As `file_layer`, not yet parsed.

    Raises:
        UsageError: it is there and cannot be read.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(
            f"{path}: cannot be read: {reason}", "Mend its permissions, or move it away."
        ) from None
    return Text(name, str(path), text)


def option_layer(assignments: Sequence[str], name: str = "options") -> Layer:
    """`--set key=value` options; a dotted key each."""
    from rps_core import yaml_text

    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise UsageError(
                f"--set {assignment}: this is not `key=value`",
                "For example: --set job.walltime=02:00:00",
            )
        put(values, key.strip(), yaml_text.parse_value(text, f"--set {key}"))
    return Layer(name, "--set", values)


def put(values: dict[str, Any], key: str, value: object) -> None:
    """Set a dotted key in nested dicts."""
    *parents, leaf = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
    values[leaf] = value


def value(values: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key in nested mappings."""
    found: Any = values
    for part in key.split("."):
        found = found[part]
    return found


def merge(schema: type[Schema], layers: Sequence[Layer]) -> tuple[Schema, dict[str, Origin]]:
    """Merge the layers, lowest first, onto a dataclass; also the origin of each dotted key.

    Lists replace lists, mappings merge, and a section that is empty (all its keys commented out)
    changes nothing.

    Raises:
        UsageError: a key that the schema does not have (with the nearest one that it has), a value of
            the wrong type, or a key that no layer sets; names file and line.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    merged: Any = OmegaConf.structured(schema)
    origins: dict[str, Origin] = {}
    for layer in layers:
        values = _checked(schema, layer.values, layer, "")
        try:
            merged = OmegaConf.merge(merged, values)
        except OmegaConfBaseException as error:
            key = str(error.full_key or error.key or "")
            wanted = _wanted(schema, key)
            said = f": {str(error).splitlines()[0]}"
            with contextlib.suppress(KeyError, TypeError):  # a mapping's own key may hold a dot
                given: Any = reduce(getitem, key.split("."), values)
                if wanted:
                    as_yaml = json.dumps(given, ensure_ascii=False, default=str)
                    said = f" must be {wanted}, and is {as_yaml}"
            raise UsageError(f"{layer.where(key)}: `{key}`{said}") from None
        for key in _leaves(values):
            origins[key] = Origin(layer.name, layer.where(key))
    missing = sorted(OmegaConf.missing_keys(merged))
    if missing:
        raise UsageError(
            f"No layer of the configuration sets {', '.join(f'`{k}`' for k in missing)}"
        )
    result: Any = OmegaConf.to_object(merged)
    return result, origins


def keys(schema: type) -> list[str]:
    """Every dotted key of a schema that is not a section; a free mapping counts as one key."""
    found = []
    for name, kind in get_type_hints(schema).items():
        if _is_section(kind):
            found += [f"{name}.{key}" for key in keys(kind)]
        else:
            found.append(name)
    return found


def _checked(schema: type, values: Mapping[str, Any], layer: Layer, prefix: str) -> dict[str, Any]:
    """The values with every key known, `${` escaped, and without empty sections, which would erase."""
    return _checked_fields(get_type_hints(schema), values, layer, prefix)


def _checked_fields(
    kinds: Mapping[str, Any], values: Mapping[str, Any], layer: Layer, prefix: str
) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if name not in kinds:
            raise _unknown_key(key, name, prefix, list(kinds), layer)
        kind = kinds[name]
        entry = get_args(kind)[1] if get_origin(kind) is dict else None
        free = get_origin(entry) is dict  # mappings of what keys they like, each checked elsewhere
        if not _is_section(kind) and not _is_section(entry) and not free:
            checked[name] = _escaped(value)
        elif value is None:  # all its keys are commented out
            continue
        elif not isinstance(value, dict):
            raise UsageError(f"{layer.where(key)}: `{key}` must be a mapping of keys to values")
        elif free:
            checked[name] = {item: _escaped(found or {}) for item, found in value.items()}
        elif _is_section(kind):
            checked[name] = _checked(kind, value, layer, f"{key}.")
        else:
            entries = dict.fromkeys(value, entry)
            checked[name] = _checked_fields(entries, value, layer, f"{key}.")
    return checked


_WANTED = {
    bool: "on or off",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list, such as [one, another]",
}


def _wanted(schema: type, key: str) -> str | None:
    """What a value must be, in the words of who writes YAML; None where there are none for it."""
    kind: Any = schema
    for part in key.split("."):
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
        elif _is_section(kind):
            kind = get_type_hints(kind).get(part)
        else:
            return None
    kinds = [each for each in get_args(kind) if each is not type(None)]
    if kind not in _WANTED and type(None) in get_args(kind) and len(kinds) == 1:
        kind = kinds[0]
    return _WANTED.get(get_origin(kind) or kind)


def _is_section(kind: object) -> TypeGuard[type]:
    return isinstance(kind, type) and is_dataclass(kind)


def _unknown_key(key: str, name: str, prefix: str, known: list[str], layer: Layer) -> UsageError:
    import difflib

    near = difflib.get_close_matches(str(name), known, n=1)
    inside = f" in `{prefix[:-1]}`" if prefix else ""
    hint = (
        f"Did you mean `{prefix}{near[0]}`?" if near else f"Known keys{inside}: {', '.join(known)}."
    )
    return UsageError(f"{layer.where(key)}: unknown key `{key}`", hint)


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda match: f"{match[1] * 2}\\${{", value)
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
