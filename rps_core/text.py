"""Format text: durations, times, suggestions; remove control characters."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from rps_core.node.agent.words import in_words, printable

_MONTHS = 180  # days from which on a date needs its year


def plain(text: str) -> str:
    """Replace control characters: a scheduler's reason may quote a user's text."""
    return printable(text, " ")


def plain_lines(text: str) -> str:
    """Replace control characters other than line ends."""
    return printable(text, " ", keep="\n")


def did_you_mean(typed: str, known: Iterable[str], *, shortened: bool = False) -> str:
    """Return `Did you mean …? `, with a blank for what follows at its end; empty if no name is similar.

    Args:
        typed: what the user typed.
        known: the names.
        shortened: the user may have typed only the beginning of a name.
    """
    import difflib

    names = {name[: len(typed) + 1] if shortened else name: name for name in known}
    near = difflib.get_close_matches(typed.lower(), names, n=1)
    return f"Did you mean `{names[near[0]]}`? " if near else ""


def roughly(seconds: float) -> str:
    """Format a duration roughly, in the one format of all output: `40 s`, `12 min`, `3 h 05 min`."""
    return in_words(seconds)


def clock_time(moment: datetime) -> str:
    """Format a local time, with its date unless that is today, and its year if it is months away."""
    local, now = moment.astimezone(), datetime.now(UTC).astimezone()
    if local.date() == now.date():
        return f"{local:%H:%M}"
    year = " %Y" if abs((local - now).days) > _MONTHS else ""
    return local.strftime(f"%a %d %b{year} %H:%M")
