"""Text for people, and the agent's `printable` that it is made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rps_core.node.agent.words import printable
from rps_core.text import clock_time, did_you_mean, plain, plain_lines, roughly


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a reason, 50% \u00fc", "a reason, 50% \u00fc"),
        ("a\x1b[2J\rb\nc\td\x7fe\u202ef\u2028g\ud800h", "a [2J b c d e f g h"),
    ],
)
def test_plain_replaces_what_is_not_printable(text: str, found: str) -> None:
    assert plain(text) == found
    assert plain(text).isprintable()


def test_plain_lines_keeps_line_ends_alone() -> None:
    assert plain_lines("a\x1b[31mb\r\nc\td") == "a [31mb \nc d"


def test_printable_keeps_what_it_is_given() -> None:
    assert printable("a\tb\x00", keep="\t") == "a\tb?"
    assert printable("\udcff\ud800", keep="\udcff") == "\udcff?"


def test_a_suggestion_is_near_or_none() -> None:
    assert did_you_mean("slrum", ["slurm", "local"]) == "Did you mean `slurm`? "
    assert did_you_mean("xyz", ["slurm", "local"]) == ""
    assert did_you_mean("amber-oti", ["amber-otter-lake"], shortened=True) == (
        "Did you mean `amber-otter-lake`? "
    )


@pytest.mark.parametrize(
    ("seconds", "found"),
    [(-3, "0 s"), (119.9, "119 s"), (120, "2 min"), (7199, "119 min"), (7500, "2 h 05 min"),
     (183_600, "2 days 3 h")],
)  # fmt: skip
def test_roughly(seconds: float, found: str) -> None:
    assert roughly(seconds) == found


def test_a_time_has_its_date_and_its_year_where_it_needs_them() -> None:
    now = datetime.now(UTC).astimezone()
    assert clock_time(now) == f"{now:%H:%M}"
    for days, form in ((2, "%a %d %b %H:%M"), (700, "%a %d %b %Y %H:%M")):
        then = (now + timedelta(days=days)).astimezone()
        assert clock_time(then) == then.strftime(form)
