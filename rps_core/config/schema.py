"""Read a schema: its keys, their types, and what a value of a type must be."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Any, TypeGuard, get_args, get_origin, get_type_hints

_EXPECTED = {
    bool: "on or off",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list, such as [one, another]",
}


@functools.cache
def types_of(schema: type) -> Mapping[str, Any]:
    """Return the type of each field of a section; its annotations are evaluated once."""
    return MappingProxyType(get_type_hints(schema))


def keys(schema: type) -> list[str]:
    """Return the dotted keys of a schema; a free mapping counts as one key."""
    found = []
    for name, kind in types_of(schema).items():
        if is_section(kind):
            found += [f"{name}.{key}" for key in keys(kind)]
        else:
            found.append(name)
    return found


def keys_of(settings: Any) -> list[str]:
    """Return the `keys` of the schema of these settings.

    Without evaluating its annotations, which takes longer than everything else of a session's record.
    """
    found = []
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            found += [f"{field.name}.{key}" for key in keys_of(value)]
        else:
            found.append(field.name)
    return found


def is_section(kind: object) -> TypeGuard[type]:
    """Return whether a type of the schema is a section of keys."""
    return isinstance(kind, type) and is_dataclass(kind)


def type_of(schema: type, key: str) -> Any:
    """Return the type of a dotted key or section; None: not in the schema."""
    kind: Any = schema
    parts = key.split(".")
    for number, part in enumerate(parts):
        if get_origin(kind) is dict:
            entry = get_args(kind)[1]
            # A name in a mapping may hold dots, and only a section has keys below it.
            return (
                types_of(entry).get(parts[-1])
                if is_section(entry) and number + 1 < len(parts)
                else entry
            )
        if not is_section(kind):
            return None
        kind = types_of(kind).get(part)
    return kind


def expected(kind: Any) -> str:
    """Return what a value of this type must be, in YAML's terms; empty: any."""
    kind = without_none(kind)
    return _EXPECTED.get(get_origin(kind) or kind, "")


def without_none(kind: Any) -> Any:
    """Return the type of an optional value, and any other type as it is."""
    kinds = [each for each in get_args(kind) if each is not type(None)]
    return kinds[0] if type(None) in get_args(kind) and len(kinds) == 1 else kind
