"""The last lines of a start on a terminal: where the session runs, until when, and its URL as a link."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from rps_core.display.link import has_links, print_url
from rps_core.display.screen import Screen
from rps_core.display.wording import ready_line
from rps_core.sessions.follow import Progress
from rps_core.sessions.session import SessionView
from rps_core.system.terminal import TerminalStream, wrapped
from tests.stands.record import RECORD

URL = "https://one-two-three.example.org/?token=00"
READY = SessionView(
    record=replace(RECORD, label="fit"),
    state="ready",
    reason=None,
    url=URL,
    node="n1",
    time_left=1740,
)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def in_california(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("NO_COLOR", "FORCE_HYPERLINK", "TMUX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_the_line_has_node_local_time_and_time_left() -> None:
    line = ready_line(READY)
    assert line.startswith("one-two-three (fit) is ready on n1 until ")
    assert line.endswith(" (29 min left)")
    assert ready_line(replace(READY, node_name="n1.local")).startswith(
        "one-two-three (fit) is ready on n1.local until "
    )
    unknown = replace(READY, node=None, time_left=None, record=RECORD)
    assert ready_line(unknown) == "one-two-three is ready"


@pytest.mark.parametrize(
    ("environment", "links"),
    [
        ({}, True),
        ({"TERM": "tmux-256color"}, True),
        ({"TERM": "screen-256color", "TMUX": "/tmp/tmux-1000/default,1,0"}, True),
        ({"TERM": "screen"}, False),
        ({"TERM": "screen", "FORCE_HYPERLINK": "1"}, True),
        ({"FORCE_HYPERLINK": "0"}, False),
        ({"TERM": "eterm-color"}, False),
        ({"TERM": "linux"}, False),
        ({"TERM": "dumb"}, False),
        ({"TERM": "dumb", "FORCE_HYPERLINK": "1"}, False),
        ({"NO_COLOR": "1"}, False),
    ],
)
def test_where_the_url_is_a_link(
    environment: dict[str, str], links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    assert has_links(terminal) is links
    print_url(URL, TerminalStream(terminal, prose=True))  # type: ignore[arg-type]
    link = f"\033]8;;{URL}\033\\{URL}\033]8;;\033\\\n"
    assert terminal.getvalue() == (link if links else f"{URL}\n")
    assert has_links(io.StringIO()) is False


def test_a_url_does_not_control_the_terminal() -> None:
    terminal = Terminal()
    print_url(f"{URL}\033\\\033[2J\x07\n", TerminalStream(terminal))  # type: ignore[arg-type]
    assert terminal.getvalue().count("\033") == 4  # those of the link
    assert terminal.getvalue().count("\n") == 1
    assert "\x07" not in terminal.getvalue()


@pytest.mark.parametrize("color", ["", "1"])
def test_it_takes_the_place_of_the_progress(color: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", color)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", TerminalStream(terminal, prose=True))
    screen = Screen(quiet=False)
    screen.show(Progress.after(None, READY))
    screen.ready(READY)
    screen.done()
    screen.link(READY)
    before, _, last = terminal.getvalue().rpartition("\r")
    assert "[ready]" in before
    mark = "✓ " if color else "\033[1;32m✓ \033[0m"
    assert last.startswith(f"\033[3A\033[J{mark}one-two-three (fit) is ready on n1 until ")
    assert last.rstrip("\n").endswith(URL if color else f"{URL}\033]8;;\033\\")


def test_a_warning_of_a_ready_session_stays_and_a_pipe_gets_neither(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", TerminalStream(terminal, prose=True))
    screen = Screen(quiet=False)
    warned = replace(READY, reason="the walltime limit is near")
    screen.show(Progress.after(None, warned))
    screen.ready(warned)
    assert "\033[3A" not in terminal.getvalue()
    monkeypatch.undo()
    pipe = Screen(quiet=False)
    pipe.ready(READY)
    pipe.link(READY)
    assert capsys.readouterr() == ("", "")


def test_a_mark_that_the_locale_does_not_have_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Latin(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    content = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", Latin(content, "iso8859-1", write_through=True))
    Screen(quiet=False).ready(READY)
    assert content.getvalue().startswith(b"one-two-three (fit) is ready")


@pytest.mark.parametrize(
    ("text", "width", "indent", "expected"),
    [
        ("one two three\n", 8, None, "one two\nthree\n"),
        ("  one two three", 8, None, "  one\n  two\n  three"),
        ("name:  one twos", 14, " " * 7, "name:  one\n       twos"),
        ("name:  one two", 11, "", "name:  one\ntwo"),
        ("at https://a-very-long.example/ now", 10, None, "at\nhttps://a-very-long.example/\nnow"),
        ("https://a-very-long.example/", 10, None, "https://a-very-long.example/"),
        ("\033[31mone\033[0m two", 7, None, "\033[31mone\033[0m two"),
        ("a  b   c", 8, None, "a  b   c"),
        ("a-b-c d-e-f", 8, None, "a-b-c\nd-e-f"),
        ("\n\none two\n\n", 4, None, "\n\none\ntwo\n\n"),
        (" " * 30 + "one two", 10, None, " " * 30 + "one\ntwo"),
    ],
)
def test_lines_are_broken_between_words(
    text: str, width: int, indent: str | None, expected: str
) -> None:
    assert wrapped(text, width, indent) == expected
