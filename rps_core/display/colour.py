"""Colours that mean something: off in a pipe, on a terminal without them, and with NO_COLOR."""

from __future__ import annotations

import os
from typing import TextIO

BOLD, DIM, RED, GREEN, YELLOW = 1, 2, 31, 32, 33  # SGR parameters (ECMA-48, 8.3.117)
_OF_A_STATE = {
    "ready": GREEN,
    "failed": RED,
    "ended": DIM,
    "ending": DIM,
    "pending": YELLOW,
    "starting": YELLOW,
    "suspended": YELLOW,
    "lapsed": YELLOW,
    "unknown": YELLOW,
}


class Colours:
    """The colours of one output stream."""

    def __init__(self, stream: TextIO) -> None:
        self.on = can_redraw(stream) and not os.environ.get("NO_COLOR")  # https://no-color.org

    def paint(self, text: str, *styles: int) -> str:
        """Return the text in these styles; unchanged if colours are off."""
        if not (self.on and text and styles):
            return text
        return f"\033[{';'.join(map(str, styles))}m{text}\033[0m"

    def state(self, state: str, text: str | None = None) -> str:
        """Return the text, by default the state itself, in the state's colour."""
        style = _OF_A_STATE.get(state)
        return self.paint(text or state, *() if style is None else (style,))


def can_redraw(stream: TextIO) -> bool:
    """Return whether the stream is a terminal that understands control sequences."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")
