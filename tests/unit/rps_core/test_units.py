"""Walltimes and memory: what is understood, and what is refused."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rps_core.errors import UsageError
from rps_core.units import format_walltime, parse_memory, parse_walltime


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1800),
        ("1", 60),
        ("00:30:00", 1800),
        ("12:00:00", 43200),
        ("48:00:00", 172800),
        ("1-12:00:00", 129600),
        ("1-12", 129600),
        ("2-01:30", 178200),
        ("0:0:1", 1),
        (" 90 ", 5400),
    ],
)
def test_walltime_is_understood(text: str, seconds: int) -> None:
    assert parse_walltime(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["0", "00:00:00", "-5", "abc", "99:99:99", "1:60:00", "1:00:60", "1-24:00:00", "", "1h", "30:00",
     "1.5", "1e3", "\u0663\u0660", "1:2:3:4", "$(id)"],
)  # fmt: skip
def test_walltime_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_walltime(text)
    assert caught.value.exit_code == 2
    assert text in caught.value.message
    assert caught.value.hint


@given(st.integers(min_value=1, max_value=999 * 86400 + 86399))
def test_walltime_survives_being_written(seconds: int) -> None:
    walltime = timedelta(seconds=seconds)
    assert parse_walltime(format_walltime(walltime)) == walltime


def test_a_day_and_more_is_written_with_days() -> None:
    assert format_walltime(timedelta(hours=23, minutes=59, seconds=59)) == "23:59:59"
    assert format_walltime(timedelta(hours=24)) == "1-00:00:00"


@pytest.mark.parametrize(
    ("text", "mebibytes"),
    [("2G", 2048), ("2g", 2048), ("2048M", 2048), ("2", 2048), ("1.5G", 1536), ("1T", 1048576),
     ("512MB", 512), ("0.001M", 1), ("2047.1M", 2048), ("1.001G", 1026), ("2 GiB", 2048)],
)  # fmt: skip
def test_memory_is_understood(text: str, mebibytes: int) -> None:
    assert parse_memory(text) == mebibytes


@pytest.mark.parametrize("text", ["0", "-1G", "lots", "2X", "", "G", "1,5G"])
def test_memory_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_memory(text)
