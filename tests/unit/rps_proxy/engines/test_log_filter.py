"""The filter of an engine's log: rates and characters."""

from __future__ import annotations

from rps_proxy.engines.log_filter import (
    LONGEST_LINE,
    MOST_KINDS,
    MOST_LINES,
    LogFilter,
    printable,
)


def test_only_printable_ascii_goes_on() -> None:
    assert printable(b"503 a\x1b[2Jb\x9b\r\x07\xe2\x80\xae") == (
        r"503 a\x1b[2Jb\x9b\x0d\x07\xe2\x80\xae"
    )
    for length in (LONGEST_LINE + 1, 10 * LONGEST_LINE):
        assert printable(b"x" * length) == "x" * LONGEST_LINE + "..."
    assert len(printable(b"\x1b" * LONGEST_LINE)) == LONGEST_LINE + 3


def test_a_flood_of_one_kind_hides_no_other_and_is_counted() -> None:
    lines = LogFilter(0)
    flood = [line for _ in range(MOST_LINES + 5) for line in lines.line(b"400/PR x", 1)]
    assert len(flood) == MOST_LINES
    assert lines.line(b"502/SH y", 2) == ["502/SH y"]
    assert lines.counts(59) == []
    assert lines.line(b"400/PR x", 60) == ["log-lines-left-out number=5 of=400/PR", "400/PR x"]
    assert lines.counts(200, last=True) == []


def test_invented_kinds_share_one_bound() -> None:
    lines = LogFilter(0)
    passed = [line for n in range(1000) for line in lines.line(b"kind-%d x" % n, 1)]
    assert len(passed) == MOST_KINDS + MOST_LINES
    left_out = 1000 - len(passed)
    assert lines.counts(1, last=True) == [f"log-lines-left-out number={left_out} of=other"]
