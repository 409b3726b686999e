"""Send terminals nothing but text and colours.

Schedulers, services, logs and other users' job names are quoted in many places. On a terminal all output goes
through one stream, which replaces what would move the cursor, change the title, reorder text or answer for
the user. Only `display.live` and `display.link` draw past it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast

# All but ends of lines, tabs, and colours (ESC [ 31 m): C0, DEL, C1; marks and overrides of the direction
# (UAX #9); line and paragraph separators; halves of surrogate pairs.
_CONTROL = re.compile(
    r"(\x1b\[[0-9;]{0,32}m)|\r(?=\n)"
    r"|([\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff])"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]{0,32}m")
_NARROW = 20  # columns, less than a terminal has


def for_a_terminal(text: str) -> str:
    """Return a text without what would do more on a terminal than print and colour."""
    return _CONTROL.sub(lambda found: found[1] or (" " if found[2] else ""), text)


def wrapped(text: str, width: int, indent: str | None = None) -> str:
    """Return the text with lines of at most `width` columns, broken at blanks.

    A word that is longer, such as a URL or a path, stays whole: a terminal breaks it, and copies it in one.

    Args:
        text: one line or several; colours take no columns.
        width: columns.
        indent: of the lines that follow a break; None: as the line that is broken.
    """
    return "".join(_wrapped_line(line, width, indent) for line in text.splitlines(keepends=True))


def _wrapped_line(line: str, width: int, indent: str | None) -> str:
    if _columns(line.rstrip("\n")) <= width:
        return line
    lead = line[: len(line) - len(line.lstrip(" "))]
    following = lead if indent is None else indent
    if len(following) > width // 2:
        following = ""
    found, used = lead, len(lead)
    # Blanks between words are kept where no line ends: they may align columns.
    for blanks, word in re.findall(r"( *)([^ ]+)", line[len(lead) :]):
        if used + len(blanks) + _columns(word.rstrip("\n")) > width and found.strip():
            found, used = f"{found}\n{following}", len(following)
        else:
            found, used = found + blanks, used + len(blanks)
        found, used = found + word, used + _columns(word)
    return found


def _columns(text: str) -> int:
    return len(_COLOUR.sub("", text))


def columns_of(stream: TextIO) -> int | None:
    """Return the terminal's width, 80 if it does not say; None without a terminal."""
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


class TerminalStream:
    """A text stream to a terminal, which `draw` alone can send everything.

    `prose`: its lines are for reading, and long ones are broken between words.
    """

    def __init__(self, stream: TextIO, *, prose: bool = False) -> None:
        self._stream = stream
        self._prose = prose

    def write(self, text: str) -> int:
        """Write what is text and colour; return the number of characters given."""
        shown = for_a_terminal(text)
        if self._prose and len(shown) > _NARROW:
            # Some terminals wrap when the last column is written.
            shown = wrapped(shown, max(1, (columns_of(self._stream) or 80) - 1))
        self._stream.write(shown)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each line."""
        for line in lines:
            self.write(line)

    def draw(self, text: str) -> None:
        """Write unchanged: the text must hold no words of others."""
        self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard_terminals() -> None:
    """Put a `TerminalStream` before stdout and stderr that are terminals; messages are on stderr."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream.isatty() and not isinstance(stream, TerminalStream):
            guarded = TerminalStream(stream, prose=name == "stderr")
            setattr(sys, name, cast(TextIO, guarded))
