"""YAML as people mean it: every scalar is text, but for null.

YAML 1.1 reads `12:00:00` as 43200, `00123` as 83 and `on` as true. Here the configuration's schema
alone decides what a text becomes. This is the only module that imports yaml.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from rps_core.errors import UsageError


class _TextLoader(yaml.SafeLoader):
    """A safe loader that resolves nothing but null."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - shadows PyYAML's class attribute


_TextLoader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]
)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: nested dicts, lists and texts, and the line (from 1) of each dotted key."""

    values: dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)


def parse(text: str, source: str) -> Document:
    """Parse a mapping. `source` names the file in errors.

    Raises:
        UsageError: not YAML, not a mapping, or a key given twice; names the line.
    """
    loader = _TextLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Document({})
        if not isinstance(node, yaml.MappingNode):
            what = "list" if isinstance(node, yaml.SequenceNode) else "single value"
            raise UsageError(
                f"{source}: the file holds a {what}, not a mapping of keys to values",
                "Write `key: value` lines.",
            )
        lines: dict[str, int] = {}
        _note_lines(node, "", lines, source)
        return Document(loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        problem = error.problem or error.context or ""
        raise UsageError(f"{where}: not valid YAML: {problem}", _advice(problem)) from None
    except yaml.YAMLError as error:
        raise UsageError(f"{source}: not valid YAML: {error}") from None
    finally:
        loader.dispose()


def _advice(problem: str) -> str:
    """What to do about the mistakes that are made most, by PyYAML's words for them."""
    if r"'\t'" in problem:
        return "YAML is indented with spaces: put them in place of the tab."
    if problem.startswith("expected the node content"):
        return "What begins with [ or { is a list or a mapping; a text that does goes in quotes."
    if "cannot start any token" in problem:
        return "Put the value in quotes."
    if problem == "mapping values are not allowed here":
        return (
            "Is the line indented like those around it? A value with a colon in it goes in quotes."
        )
    return ""


def parse_value(text: str, source: str) -> Any:
    """Parse one value as given in an option or a variable: a text, a `[list]`, a `{mapping}` or null."""
    if text[:1] not in ("[", "{") and text not in ("null", "~"):
        return text
    return parse(f"value: {text}", source).values["value"]


def dump(values: dict[str, Any]) -> str:
    """Block-style YAML in the order given."""
    text: str = yaml.safe_dump(
        values, sort_keys=False, default_flow_style=False, allow_unicode=True
    )
    return text


def _note_lines(node: yaml.MappingNode, prefix: str, lines: dict[str, int], source: str) -> None:
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise UsageError(f"{source}:{key_node.start_mark.line + 1}: a key must be plain text")
        key = f"{prefix}{key_node.value}"
        line = key_node.start_mark.line + 1
        if key in lines:
            raise UsageError(
                f"{source}:{line}: `{key}` is given twice, first in line {lines[key]}",
                "Keep one of the two.",
            )
        lines[key] = line
        if isinstance(value_node, yaml.MappingNode):
            _note_lines(value_node, f"{key}.", lines, source)
