"""YAML as people mean it: every scalar is text, but for null.

YAML 1.1 reads `12:00:00` as 43200, `00123` as 83 and `on` as true. Here the configuration's schema
alone decides what a text becomes. This is the only module that imports yaml.
"""

from __future__ import annotations

import re
from dataclasses import field
from typing import Any

import yaml

from rps_core.config.layers import MOST_TEXT
from rps_core.config.mistakes import Mistakes
from rps_core.errors import UsageError
from rps_core.values import dataclass

MOST_DEPTH = 16  # of mappings and lists in each other


class _TextLoader(yaml.SafeLoader):
    """A safe loader that resolves nothing but null, and reads no more than is written.

    An alias stands for what is written elsewhere, so a few lines of them are billions of values. A tag has
    its text read as something else, and that need not be possible.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose as PyYAML does; refuse aliases, tags and deep nesting."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        problem = ""
        if isinstance(event, yaml.AliasEvent):
            problem = f"*{event.anchor} stands for what is written elsewhere"
        elif event.tag is not None:
            problem = f"{event.tag} would have it read as something else"
        elif self._depth == MOST_DEPTH:
            problem = f"it is nested more than {MOST_DEPTH} times"
        if problem:
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    _depth = 0
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - shadows PyYAML's class attribute


_TextLoader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]
)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: nested dicts, lists and texts, and the keys' lines."""

    values: dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)


def parse(text: str, source: str, mistakes: Mistakes | None = None) -> Document:
    """Parse a mapping.

    Args:
        text: the YAML.
        source: the file, for errors.
        mistakes: collects keys that are given twice.

    Raises:
        UsageError: not YAML, not a mapping, too long, nested too deep, an alias or a tag in it, or a key
            given twice (without `mistakes`); names the line.
    """
    if len(text) > MOST_TEXT:
        raise UsageError(
            f"{source}: the file has {len(text)} characters; a configuration has at most {MOST_TEXT}",
            "Check that it is a configuration file.",
        )
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
        twice = Mistakes() if mistakes is None else mistakes
        _note_lines(node, "", lines, source, twice)
        if mistakes is None:
            twice.check()
        return Document(loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        problem = error.problem or error.context or ""
        raise UsageError(f"{where}: not valid YAML: {problem}", _advice(problem)) from None
    except yaml.YAMLError as error:
        raise UsageError(
            f"{source}: not valid YAML: {error}", "Save it in UTF-8, without control characters."
        ) from None
    finally:
        loader.dispose()


def _advice(problem: str) -> str:
    """Return advice for the most common mistakes, by PyYAML's messages."""
    if r"'\t'" in problem:
        return "YAML is indented with spaces: put them in place of the tab."
    if problem.startswith("expected the node content"):
        return "[ begins a list and { a mapping; put a text that begins with one of them in quotes."
    if "stands for what is written elsewhere" in problem:
        return "Write it out; a text that begins with * goes in quotes."
    if "read as something else" in problem:
        return "Leave it out; a text that begins with ! goes in quotes."
    if "cannot start any token" in problem:
        return "Put the value in quotes."
    if problem == "mapping values are not allowed here":
        return (
            "Is the line indented like those around it? A value with a colon in it goes in quotes."
        )
    return ""


def parse_value(text: str, source: str) -> Any:
    """Parse a value of an option or variable: text, list, mapping or null."""
    if text[:1] not in ("[", "{") and text not in ("null", "~"):
        return text
    found = parse(f"value: {text}", source).values
    if len(found) > 1:
        raise UsageError(f"{source}: more than one value", "Write a list in one line: [a, b]")
    return found["value"]


def dump(values: dict[str, Any]) -> str:
    """Block-style YAML in the order given."""
    text: str = yaml.safe_dump(
        values, sort_keys=False, default_flow_style=False, allow_unicode=True
    )
    return text


def _note_lines(
    node: yaml.MappingNode, prefix: str, lines: dict[str, int], source: str, mistakes: Mistakes
) -> None:
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise UsageError(
                f"{source}:{key_node.start_mark.line + 1}: a key must be plain text",
                "Write `key: value` lines.",
            )
        key = f"{prefix}{key_node.value}"
        line = key_node.start_mark.line + 1
        if key in lines:
            mistakes.add(
                f"{source}:{line}: `{key}` is given twice, first in line {lines[key]}",
                "Remove one of the two.",
            )
        else:
            lines[key] = line
        if isinstance(value_node, yaml.MappingNode):
            _note_lines(value_node, f"{key}.", lines, source, mistakes)
