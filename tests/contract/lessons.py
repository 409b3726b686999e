"""What a table of edge cases is made of: for each the test that covers it, or the code that makes it
impossible; and what keeps such a table true."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Covered:
    """By a test: its file below tests/, and its name."""

    file: str
    name: str


@dataclass(frozen=True)
class Cannot:
    """Arise: words of a file that see to it, and how."""

    file: str
    words: str
    how: str


def check(answer: Covered | Cannot) -> None:
    """Fail where the test, or the words that see to it, are no longer there."""
    if isinstance(answer, Covered):
        assert answer.name in _tests_in(answer.file), answer
    else:
        assert answer.words in (ROOT / answer.file).read_text(), answer
        assert answer.how, answer


def said_twice(table: Iterable[tuple[str, Covered | Cannot]]) -> list[str]:
    """The cases that stand there more than once."""
    return [case for case, times in Counter(case for case, _ in table).items() if times > 1]


@cache
def _tests_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text())
    names = (node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return frozenset(name for name in names if name.startswith("test_"))
