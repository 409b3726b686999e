"""`rps config --explain KEY`: a key's meaning, from defaults.yaml."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from rps_core.config import yaml_text
from rps_core.config.layers import value
from rps_core.config.schema import expected, is_section, keys, type_of
from rps_core.config.settings import DEFAULTS, Settings
from rps_core.errors import UsageError
from rps_core.text import did_you_mean
from rps_core.values import dataclass


@dataclass(frozen=True, slots=True)
class Explanation:
    """A key or section with its meaning: `keys` are those of a section."""

    key: str
    meaning: str
    kind: str
    default: Any
    keys: tuple[str, ...] = ()


def explain(key: str) -> Explanation:
    """Return the explanation of a dotted key or of a section.

    Raises:
        UsageError: there is no such key; names the nearest.
    """
    text = DEFAULTS.read_text("utf-8")
    document = yaml_text.parse(text, str(DEFAULTS))
    known = document.lines
    if key not in known:
        near = did_you_mean(key, list(known))
        raise UsageError(f"Unknown key `{key}`", f"{near}`rps config` lists every key.")
    kind = type_of(Settings, key)
    return Explanation(
        key,
        _comment_above(text.splitlines(), known[key]),
        "a section" if is_section(kind) else _kind(kind),
        value(document.values, key),
        tuple(found for found in keys(Settings) if found.startswith(f"{key}.")),
    )


def _kind(kind: Any) -> str:
    name = expected(kind) or ("a mapping" if get_origin(kind) is dict else "a text")
    return f"{name}, or null" if type(None) in get_args(kind) else name


def _comment_above(lines: list[str], line: int) -> str:
    """Return the comment right above a line (counted from 1), as one paragraph."""
    found: list[str] = []
    for text in reversed(lines[: line - 1]):
        if not text.lstrip().startswith("#"):
            break
        found.append(text.lstrip().removeprefix("#").strip())
    return " ".join(reversed(found))
