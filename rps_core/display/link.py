"""Links on a terminal: OSC 8 (https://gist.github.com/egmontkob/eb114294efbcd5adb1944c9f3cb5feda)."""

from __future__ import annotations

import os
from typing import TextIO

from rps_core.display.colour import can_redraw
from rps_core.text import plain

# No terminal can be asked whether it has links, and ssh passes on TERM alone. These are the names of
# terminals that have them or ignore them: VTE, iTerm2, WezTerm, Windows Terminal and Terminal.app are all
# `xterm-…`. Emacs's terminal and the consoles, some of which print the sequence, have other names.
_WITH_LINKS = (
    "xterm", "tmux", "alacritty", "contour", "foot", "ghostty", "gnome", "kitty", "konsole",
    "mintty", "vte", "wezterm",
)  # fmt: skip


def has_links(stream: TextIO) -> bool:
    """Return whether the stream is a terminal with links.

    FORCE_HYPERLINK, which other programs have too, overrules the terminal's name: 0 for none. Without colours
    (NO_COLOR) there are no links either.
    """
    if not can_redraw(stream) or os.environ.get("NO_COLOR"):
        return False
    forced = os.environ.get("FORCE_HYPERLINK")
    if forced:
        return forced != "0"
    return os.environ["TERM"].startswith(_WITH_LINKS) or "TMUX" in os.environ


def print_url(url: str, stream: TextIO) -> None:
    """Print a URL of a session as a line of its own, as a link to itself where the terminal has links.

    On a narrow terminal the link is whole, though the terminal breaks the line.
    """
    url = plain(url)
    shown = f"\033]8;;{url}\033\\{url}\033]8;;\033\\" if has_links(stream) else url
    getattr(stream, "draw", stream.write)(f"{shown}\n")  # past system.terminal's filter
    stream.flush()
