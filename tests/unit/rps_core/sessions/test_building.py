"""What is shown while a job builds its environment."""

from __future__ import annotations

from typing import Any

import pytest

from rps_core.sessions.warnings import building

BUILDING: list[dict[str, Any]] = [
    {"event": "started"},
    {"event": "building", "line": "make a venv"},
    {"event": "building", "line": "Resolved 3 packages"},
]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], None),
        (BUILDING[:1], None),
        (BUILDING, "building the environment: Resolved 3 packages"),
        ([*BUILDING, {"event": "unreachable"}], "building the environment: Resolved 3 packages"),
        ([*BUILDING, {"event": "built"}], None),
        ([*BUILDING, {"event": "built"}, {"event": "application"}], None),
        ([{"event": "building"}], "building the environment: begun"),
    ],
)
def test_the_last_line_is_shown_until_it_is_built(
    events: list[dict[str, Any]], expected: str | None
) -> None:
    assert building(events) == expected
