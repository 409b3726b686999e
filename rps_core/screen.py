"""A few lines at the end of a terminal that are drawn again in place, without taking the screen over.

Only what a terminal has understood since the VT100 is sent, in one piece for each drawing, so that
nothing flickers: up, to the line's end, to the screen's end.
"""

from __future__ import annotations

import os
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import TextIO

_UP = "\033[%dA"
_TO_LINE_END = "\033[K"
_TO_SCREEN_END = "\033[J"
_BOLD, _DIM, _PLAIN = "\033[1m", "\033[2m", "\033[0m"


class Area:
    """The lines. `live`: there is a terminal that can go up again; else nothing is ever drawn."""

    def __init__(self, stream: TextIO, *, wanted: bool = True) -> None:
        self._stream = stream
        self._drawn: list[str] = []
        self._moved = False
        terminal = stream.isatty()
        term = os.environ.get("TERM", "")
        self.live = wanted and terminal and term not in ("", "dumb", "unknown")
        self.styled = self.live and not os.environ.get("NO_COLOR")
        self._terminal = terminal

    @property
    def in_front(self) -> bool:
        """Whether the terminal is ours to draw on. A job in the background would draw over what its user
        types."""
        try:
            return os.tcgetpgrp(self._stream.fileno()) == os.getpgrp()
        except (
            OSError,
            ValueError,
        ):  # a terminal that is not our shell's: nobody puts us behind there
            return True

    @property
    def columns(self) -> int | None:
        """How wide the terminal is; None where there is none, and lines may be of any length."""
        return _size(self._stream)[0] if self._terminal else None

    def draw(self, lines: Sequence[str], *, clip: bool = False) -> None:
        """Show these in place of those before. A line that is too long is broken between words, or with
        `clip` cut off; so are lines below the screen."""
        self._forget_what_moved()
        if not self.live or not self.in_front:
            return
        columns, rows = _size(self._stream)
        width = max(1, columns - 1)  # the last column makes some terminals begin a new line
        fitting = [part for line in lines for part in _fit(_narrow(line), width, clip=clip)]
        # Never up to the first row: what is cleared from there on, tmux keeps above it in its history.
        fitting = fitting[: max(1, rows - 2)]
        if fitting == self._drawn:
            return
        text = self._back(columns)
        text += "".join(f"{self._style(line)}{_TO_LINE_END}\n" for line in fitting)
        self._write(text + _TO_SCREEN_END)
        self._drawn = fitting

    def clear(self) -> None:
        """Take them away: what is printed next stands where they stood."""
        self._forget_what_moved()
        if self._drawn:
            self._write(self._back(_size(self._stream)[0]) + _TO_SCREEN_END)
            self._drawn = []

    def leave(self) -> None:
        """Let them stand: what is printed next stands below."""
        self._drawn = []

    def moved(self) -> None:
        """Others have printed below the lines: they stay where they are, and the next stand further down.
        May be called by a handler of signals, also in the middle of a drawing."""
        self._moved = True

    def _forget_what_moved(self) -> None:
        if self._moved:
            self._moved = False
            self._drawn = []

    def _back(self, columns: int) -> str:
        # A terminal that became narrower has broken its lines.
        rows = sum(max(1, -(-len(line) // columns)) for line in self._drawn)
        return "\r" + (_UP % rows if rows else "")

    def _style(self, line: str) -> str:
        """What stands in brackets is where we are: shown so, and the rest of its line held back."""
        before, bracket, rest = line.partition("[")
        inside, end, after = rest.partition("]")
        if not (self.styled and bracket and end and ">" in before + after):
            return line
        return f"{_DIM}{before}{_PLAIN}{_BOLD}[{inside}]{_PLAIN}{_DIM}{after}{_PLAIN}"

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _size(stream: TextIO) -> tuple[int, int]:
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return 80, 24
    return size.columns or 80, size.lines or 24  # 0: nobody told the size


def _fit(line: str, width: int, *, clip: bool) -> list[str]:
    if clip:
        return [line[:width].rstrip()]
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(line, width, subsequent_indent=indent) or [""]


def _narrow(line: str) -> str:
    """With one character a column: what a scheduler says may hold wide ones, and marks without width."""
    return line if line.isascii() else "".join(c if _is_narrow(c) else "?" for c in line)


def _is_narrow(character: str) -> bool:
    return unicodedata.east_asian_width(character) not in "WF" and not unicodedata.combining(
        character
    )
