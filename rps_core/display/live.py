"""Lines at the end of a terminal's output that are redrawn in place.

Only VT100 control sequences are used: cursor up, erase to the end of the screen. Each drawing is one write,
so that nothing flickers.

What is above the lines must stay, however the terminal is resized. A narrower one wraps the lines again
(tmux, VTE, kitty) or cuts them (xterm, GNU screen): the cursor goes up by one row a line, never more, and
what was wrapped may stay. The rows are erased before they are written: tmux keeps a row's mark "continued
below" until the row is erased as a whole, and joins such rows when it becomes wider (tmux 3.3a).
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from typing import TextIO

from rps_core.display.colour import BOLD, DIM, Colours, can_redraw

_UP = "\033[%dA"
_TO_SCREEN_END = "\033[J"


class LiveRegion:
    """The lines. `live`: the stream is a terminal that can redraw; else none is drawn."""

    def __init__(self, stream: TextIO, *, wanted: bool = True) -> None:
        self._stream = stream
        self._drawn: list[str] = []
        self._moved = False
        self.live = wanted and can_redraw(stream)
        self._colours = Colours(stream)

    @property
    def in_front(self) -> bool:
        """Return whether this process is in the terminal's foreground.

        A background job would draw over what the user types.
        """
        try:
            return os.tcgetpgrp(self._stream.fileno()) == os.getpgrp()
        except (
            OSError,
            ValueError,
        ):  # not our controlling terminal: there is no background there
            return True

    @property
    def columns(self) -> int | None:
        """Return the terminal's width, or None without a terminal."""
        from rps_core.system.terminal import columns_of

        return columns_of(self._stream)

    def draw(self, lines: Sequence[str], *, clip: bool = False) -> None:
        """Replace the drawn lines.

        Long lines are wrapped, or cut with `clip`. Lines below the screen are left out.
        """
        self._forget_what_moved()
        if not self.live or not self.in_front:
            return
        columns, rows = _size(self._stream)
        width = max(1, columns - 1)  # some terminals wrap when the last column is written
        fitting = [part for line in lines for part in _fit(_narrow(line), width, clip=clip)]
        # Never from the first row on: tmux keeps what is erased from there in its history.
        fitting = fitting[: max(1, rows - 2)]
        if fitting == self._drawn:
            return
        text = self._back() + _TO_SCREEN_END
        self._write(text + "".join(f"{self._style(line)}\n" for line in fitting))
        self._drawn = fitting

    def clear(self) -> None:
        """Erase the lines: the next output takes their place."""
        self._forget_what_moved()
        if self._drawn:
            self._write(self._back() + _TO_SCREEN_END)
            self._drawn = []

    def leave(self) -> None:
        """Keep the lines: the next output goes below."""
        self._drawn = []

    def moved(self) -> None:
        """Note that another program has printed below: the next drawing goes below that.

        Safe to call from a signal handler, also during a drawing.
        """
        self._moved = True

    def _forget_what_moved(self) -> None:
        if self._moved:
            self._moved = False
            self._drawn = []

    def _back(self) -> str:
        return "\r" + (_UP % len(self._drawn) if self._drawn else "")

    def _style(self, line: str) -> str:
        """Show the current stage (in brackets) in bold and the other stages dimmed."""
        before, bracket, rest = line.partition("[")
        inside, end, after = rest.partition("]")
        if not (bracket and end and ">" in before + after):
            return line
        paint = self._colours.paint
        return f"{paint(before, DIM)}{paint(f'[{inside}]', BOLD)}{paint(after, DIM)}"

    def _write(self, text: str) -> None:
        getattr(self._stream, "draw", self._stream.write)(
            text
        )  # a system.terminal.TerminalStream's
        self._stream.flush()


def _size(stream: TextIO) -> tuple[int, int]:
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return 80, 24
    return size.columns or 80, size.lines or 24  # 0: size unknown


def _fit(line: str, width: int, *, clip: bool) -> list[str]:
    if clip:
        return [line[:width].rstrip()]
    import textwrap

    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False) or [""]


def _narrow(line: str) -> str:
    """Replace wide, combining and control characters, so that each takes one column.

    A scheduler's text may contain any.
    """
    if line.isascii() and line.isprintable():
        return line
    return "".join(c if _is_narrow(c) else "?" for c in line)


def _is_narrow(character: str) -> bool:
    wide = unicodedata.east_asian_width(character) in "WF"
    return character.isprintable() and not wide and not unicodedata.combining(character)
