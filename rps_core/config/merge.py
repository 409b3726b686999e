"""Merge layers of configuration onto a typed schema; report mistakes.

The only module that imports omegaconf, which does the merging and the types; file, line and suggestion are
ours. There is no interpolation: `${HOME}` in a value is text for a shell to read.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar, get_args, get_origin

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rps_core.config.layers import Layer, Origin
from rps_core.config.mistakes import Mistakes
from rps_core.config.schema import expected, is_section, type_of, types_of, without_none

_MOST_SHOWN = 200  # characters of a value

Schema = TypeVar("Schema")


def merge(
    schema: type[Schema],
    layers: Sequence[Layer],
    *,
    removed: Mapping[str, str] | None = None,
    mistakes: Mistakes | None = None,
) -> tuple[Schema, dict[str, Origin]]:
    """Merge the layers, lowest first, onto a dataclass; return keys' origins.

    Lists replace lists, mappings merge, and a section that is empty (all its keys commented out)
    changes nothing. A mistake is an unknown key (with the nearest known one), a key of an earlier version, or
    a value of the wrong type; each names file and line.

    Args:
        schema: the dataclass.
        layers: the values, lowest first.
        removed: dotted keys of earlier versions, and what to do about each.
        mistakes: collects the mistakes. The result is then made of everything else.

    Raises:
        ConfigurationError: there are mistakes, and no `mistakes` to collect them; or no layer sets a key.
    """
    found = Mistakes() if mistakes is None else mistakes
    merged: Any = None
    origins: dict[str, Origin] = {}
    for layer in layers:
        values = _Check(layer, removed or {}, found).section(schema, layer.values, "")
        if merged is None:
            merged = _lowest(schema, layer, values, found)
        else:
            merged = _merged(schema, merged, layer, values, found)
        origins |= {key: Origin(layer.name, layer.where(key)) for key in _leaves(values)}
    if merged is None:
        merged = OmegaConf.structured(schema)
    missing = sorted(OmegaConf.missing_keys(merged))
    if missing:
        found.add(f"No layer of the configuration sets {', '.join(f'`{key}`' for key in missing)}")
    if missing or mistakes is None:
        found.check()
    result: Any = OmegaConf.to_object(merged)
    return result, origins


# The lowest layer of each schema: its text, and its merge once that is asked for again. A check of the
# configuration merges others onto the same one many times, and a copy takes a fifth of the time; a start
# merges it once.
_LOWEST: dict[type, tuple[str, Any]] = {}


def _lowest(schema: type, layer: Layer, values: dict[str, Any], mistakes: Mistakes) -> Any:
    shown = repr(values)
    last, kept = _LOWEST.get(schema, ("", None))
    if kept is not None and last == shown:
        return copy.deepcopy(kept)
    known = len(mistakes)
    merged = _merged(schema, OmegaConf.structured(schema), layer, values, mistakes)
    if len(mistakes) == known:
        _LOWEST[schema] = (shown, copy.deepcopy(merged) if last == shown else None)
    return merged


def _merged(
    schema: type, merged: Any, layer: Layer, values: dict[str, Any], mistakes: Mistakes
) -> Any:
    """Merge one layer; take out of `values` what omegaconf refuses."""
    while True:
        try:
            return OmegaConf.unsafe_merge(merged, values)  # `merge` would copy it for each layer
        except OmegaConfBaseException as error:
            key = re.sub(r"\[\d+\]", "", str(error.full_key or error.key or ""))
            refused = _take(values, key)
            reason = f": {str(error).splitlines()[0]}"
            if refused and (wanted := expected(type_of(schema, key))):
                reason = f" must be {wanted}, and is {_shown(refused[0])}"
            mistakes.add(f"{layer.where(key)}: `{key}`{reason}")
            if not refused:
                values.clear()  # nothing to go on with


def _take(values: dict[str, Any], key: str) -> list[Any]:
    """Take a dotted key's value out of nested mappings; [] for none."""
    if key in values:
        return [values.pop(key)]
    for name, inner in values.items():
        if key.startswith(f"{name}.") and isinstance(inner, dict):
            found = _take(inner, key.removeprefix(f"{name}."))
            if found:
                return found
    return []


class _Check:
    """Check the keys and the shapes of one layer's values."""

    def __init__(self, layer: Layer, removed: Mapping[str, str], mistakes: Mistakes) -> None:
        self._layer = layer
        self._removed = removed
        self._mistakes = mistakes

    def section(self, schema: type, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        """Return the valid values: `${` escaped, without empty sections."""
        described = {field.name: field.metadata for field in fields(schema)}
        counts = {name for name, metadata in described.items() if metadata.get("counts")}
        texts = {
            name: _counts(value) if name in counts else value for name, value in values.items()
        }
        for name, value in texts.items():
            words = described[name].get("words", {}) if name in described else {}
            if isinstance(value, str) and value in words:
                texts[name] = words[value]
        return self._fields(types_of(schema), texts, prefix)

    def _fields(
        self, kinds: Mapping[str, Any], values: Mapping[str, Any], prefix: str
    ) -> dict[str, Any]:
        checked: dict[str, Any] = {}
        for name, value in values.items():
            key = f"{prefix}{name}"
            if name not in kinds:
                self._unknown(key, name, value, prefix, list(kinds))
                continue
            kind = kinds[name]
            entry = get_args(kind)[1] if get_origin(kind) is dict else None
            free = get_origin(entry) is dict  # mappings of any keys, each checked elsewhere
            if not is_section(kind) and not is_section(entry) and not free:
                if _has_shape(kind, value):
                    checked[name] = _escaped(value)
                else:
                    wanted = expected(kind) or "a single value"
                    self._add(key, f"`{key}` must be {wanted}, and is {_shown(value)}")
            elif value is None:  # all its keys are commented out
                continue
            elif not isinstance(value, dict):
                self._add(key, f"`{key}` must be a mapping of keys to values")
            elif free:
                checked[name] = {item: _escaped(found or {}) for item, found in value.items()}
            elif is_section(kind):
                checked[name] = self.section(kind, value, f"{key}.")
            else:
                checked[name] = self._fields(dict.fromkeys(value, entry), value, f"{key}.")
        return checked

    def _add(self, key: str, message: str, hint: str = "") -> None:
        self._mistakes.add(f"{self._layer.where(key)}: {message}", hint)

    def _unknown(self, key: str, name: str, value: Any, prefix: str, known: list[str]) -> None:
        section = any(old.startswith(f"{key}.") for old in self._removed)
        if section and isinstance(value, dict) and value:
            for item, found in value.items():
                self._unknown(f"{key}.{item}", item, found, f"{key}.", [])
        elif key in self._removed or section:
            hint = self._removed.get(key, "Remove the section.")
            self._add(key, f"`{key}` is a key of an earlier version", hint)
        else:
            near = difflib.get_close_matches(str(name), known, n=1)
            inside = f" in `{prefix[:-1]}`" if prefix else ""
            hint = f"Known keys{inside}: {', '.join(known)}." if known else "Remove it."
            hint = f"Did you mean `{prefix}{near[0]}`?" if near else hint
            self._add(key, f"unknown key `{key}`", hint)


def _counts(value: Any) -> Any:
    """Return a mapping of names to numbers as text, `a100:2,v100:4`; others as they are."""
    if not isinstance(value, dict) or any(isinstance(one, dict | list) for one in value.values()):
        return value
    return ",".join(
        str(name) if count is None else f"{name}:{count}" for name, count in value.items()
    )


def _has_shape(kind: Any, value: Any) -> bool:
    """Return whether omegaconf can say what is wrong with a value, if anything is.

    A list is for a list, a mapping for a mapping, and `${` for a text: elsewhere its escape counts as an
    interpolation.
    """
    kind = without_none(kind)
    if get_origin(kind) is tuple:
        items = get_args(kind)[0]
        given = [] if value is None else value
        return isinstance(given, list) and all(_has_shape(items, item) for item in given)
    if isinstance(value, dict):
        return get_origin(kind) is dict
    if isinstance(value, list):
        return False
    return kind is str or not (isinstance(value, str) and "${" in value)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


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
