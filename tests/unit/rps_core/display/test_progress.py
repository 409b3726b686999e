"""The progress of a followed session on a terminal: its lines, redrawn in place."""

from __future__ import annotations

import io
import os
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rps_core.display import live as screen
from rps_core.display import progress as view
from rps_core.display.live import LiveRegion
from rps_core.sessions.follow import Progress
from rps_core.sessions.session import SessionView
from tests.stands.record import RECORD

NOW = 1_800_000_000.0


def sight(state: str, stage: str, **more: Any) -> Progress:
    silence = {name: more.pop(name) for name in list(more) if name.endswith("_since")}
    session = SessionView(record=RECORD, state=state, url=None, **{"reason": None, **more})
    return Progress(session, stage, **silence)


def shown(one: Progress, seconds: float = 700) -> list[str]:
    return view.lines(one, RECORD.created + seconds)


def test_a_session_that_waits_says_where_why_and_until_when() -> None:
    start = datetime.now(UTC) + timedelta(days=400)
    waiting = sight(
        "pending", "queued", reason="other jobs have a higher priority", raw_reason="Priority",
        estimated_start=start, estimated_at=datetime.now(UTC) - timedelta(seconds=130),
    )  # fmt: skip
    flow, why, expected, times = shown(waiting)
    assert flow == "submitted > [queued] > starting > ready"
    assert why == "waiting in the queue: other jobs have a higher priority (Priority)"
    assert re.fullmatch(r"estimated start .* \(as of 2 min ago\)", expected)
    assert times == "11 min since the start"
    assert "as of" not in view.one_line(waiting)


def test_what_is_to_be_done_about_one_that_is_held_stands_below_why() -> None:
    held = sight("pending", "queued", reason="you hold it", advice="`release 7` releases it.")
    assert shown(held)[1:3] == ["waiting in the queue: you hold it", "`release 7` releases it."]
    assert view.one_line(held) == "waiting in the queue: you hold it; `release 7` releases it"


def test_one_that_runs_says_how_long_it_may() -> None:
    assert shown(sight("starting", "starting", time_left=7000), 40) == [
        "submitted > queued > [starting] > ready",
        "the job is running, the notebook is starting",
        "40 s since the start, 116 min left",
    ]
    assert (
        shown(sight("ready", "ready", time_left=100), 90000)[-1]
        == "25 h 00 min since the start, 100 s left"
    )


def test_a_missing_answer_is_shown_with_its_start_and_error() -> None:
    silent = sight(
        "unknown", "queued", reason="Unable to contact slurm controller", scheduler_away_since=NOW,
        scheduler_away="squeue does not answer: Unable to contact\x1b[31m slurm controller",
    )  # fmt: skip
    flow, message, _ = shown(silent)
    assert flow == "submitted > [queued] > starting > ready"
    assert re.fullmatch(
        r"the scheduler has not answered since .*\d\d:\d\d: squeue does not answer: Unable to contact "
        r"\[31m slurm controller",
        message,
    )
    assert view.one_line(silent) == message
    both = sight(
        "ready", "ready", service_away_since=NOW, service_away="no route", scheduler_away_since=NOW,
        scheduler_away="x",
    )  # fmt: skip
    assert view.one_line(both).startswith("ready; the scheduler has not answered since")
    assert view.one_line(both).endswith(": no route")


def test_one_that_is_over_says_only_how() -> None:
    assert shown(sight("failed", "starting", reason="its node failed (squeue says NODE_FAIL)")) == [
        "failed: its node failed (squeue says NODE_FAIL)"
    ]


class Terminal(io.StringIO):
    """Keeps what is sent; `screen` is what a VT100 of this width then shows."""

    def __init__(self, columns: int, rows: int = 24) -> None:
        super().__init__()
        self.columns, self.rows = columns, rows

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        lines, row, column = [""], 0, 0
        for token in re.findall(r"\033\[\d*[A-Zm]|\r|\n|[^\033\r\n]+", self.getvalue()):
            if token == "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            elif token == "\r":
                column = 0
            elif token.startswith("\033["):
                number, what = int(token[2:-1] or 1), token[-1]
                if what == "A":
                    row = max(0, row - number)
                elif what == "K":
                    lines[row] = lines[row][:column]
                elif what == "J":
                    lines[row:] = [lines[row][:column]]
                else:
                    assert what == "m", token
            else:
                assert column + len(token) < self.columns, f"it would break: {token!r}"
                lines[row] = (
                    lines[row][:column].ljust(column) + token + lines[row][column + len(token) :]
                )
                column += len(token)
        return [line.rstrip() for line in lines if line.strip()]


@pytest.fixture(autouse=True)
def terminal_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(
        screen,
        "_size",
        lambda stream: (getattr(stream, "columns", 80), getattr(stream, "rows", 24)),
    )


@pytest.mark.parametrize("columns", [40, 80, 200, 20])
def test_lines_are_drawn_in_place_at_every_width(columns: int) -> None:
    terminal = Terminal(columns)
    terminal.write("above\n")
    area = LiveRegion(terminal)
    long = sight(
        "pending", "queued", raw_reason="Nodes required for job are DOWN, DRAINED or reserved",
        reason="the nodes that it needs are down, drained or reserved for others",
    )  # fmt: skip
    for one in (long, sight("starting", "starting"), long, sight("ready", "ready", time_left=60)):
        area.draw(shown(one))
        found = terminal.screen()
        assert found[0] == "above"
        assert " ".join(" ".join(found[1:]).split()) == " ".join(" ".join(shown(one)).split())
    area.clear()
    assert terminal.screen() == ["above"]


def test_what_has_not_changed_is_not_sent_again_and_what_has_comes_in_one_piece() -> None:
    terminal = Terminal(80)
    area = LiveRegion(terminal)
    area.draw(["a > [b] > c", "one"])
    sent = terminal.getvalue()
    area.draw(["a > [b] > c", "one"])
    assert terminal.getvalue() == sent
    assert "\033[2J" not in sent
    assert "\033[1m[b]" in sent


def test_a_terminal_that_became_narrower_keeps_what_is_above() -> None:
    """Test that the cursor moves up one row a line: xterm and GNU screen cut lines, and do not wrap them."""
    terminal = Terminal(80)
    area = LiveRegion(terminal)
    area.draw(["x" * 70, "y"])
    terminal.columns = 40
    area.draw(["z"])
    assert re.findall(r"\033\[(\d+)A", terminal.getvalue()) == ["2"]


def test_a_list_that_is_longer_than_the_screen_shows_its_beginning() -> None:
    terminal = Terminal(40, rows=5)
    area = LiveRegion(terminal)
    area.draw([f"{number} {'x' * 60}" for number in range(100)], clip=True)
    found = terminal.screen()
    assert (
        len(found) == 3
    )  # and the row above is left: tmux would keep a copy of what is cleared from it on
    assert all(len(line) == 39 for line in found)


def test_nothing_is_drawn_where_nothing_can_be_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    LiveRegion(pipe).draw(["x"])
    assert pipe.getvalue() == ""
    assert LiveRegion(pipe).columns is None
    for term in ("dumb", ""):
        monkeypatch.setenv("TERM", term)
        terminal = Terminal(80)
        area = LiveRegion(terminal)
        area.draw(["x"])
        area.clear()
        assert terminal.getvalue() == ""
        assert area.columns == 80


def test_no_color_means_no_styles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal(80)
    LiveRegion(terminal).draw(["a > [b] > c"])
    assert "m" not in re.sub("[^m]", "", terminal.getvalue().replace("\033[J", ""))


def test_wide_characters_do_not_push_a_line_over_the_edge() -> None:
    terminal = Terminal(40)
    LiveRegion(terminal).draw(["理由" * 15, "e\u0301"])
    assert terminal.screen() == ["?" * 30, "e?"]
    assert os.environ["TERM"] == "xterm"


def test_a_warning_stands_above_what_is_drawn() -> None:
    from rps_core import log

    terminal = Terminal(200)
    area = LiveRegion(terminal)
    log.configure(stream=terminal)
    log.before_each_line(area.clear)
    try:
        area.draw(["a", "b"])
        log.get_logger("test").warning("beware")
        area.draw(["a", "c"])
    finally:
        log.before_each_line(None)
        log.configure()
    warning, *drawn = terminal.screen()
    assert "beware" in warning
    assert drawn == ["a", "c"]
