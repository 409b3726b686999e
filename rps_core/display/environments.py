"""`rps env list`: one line for each environment that was built."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import click

from rps_core.text import plain, roughly

_HEAD = ("NAME", "ENVIRONMENT", "PYTHON", "MADE BY", "SIZE", "USED")
_SHORTEST = 8  # characters of a name


def print_table(entries: Iterable[Mapping[str, Any]]) -> None:
    """Print environments as `launch.made.listed` returns them."""
    found = list(entries)
    names = [entry["name"] for entry in found]
    lines = [_HEAD, *(_line(entry, _length(names)) for entry in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    for line in lines:
        click.echo("  ".join(map(str.ljust, line, widths)).rstrip())


def _length(names: list[str]) -> int:
    """Return how many characters of the names differ."""
    return next(
        (n for n in range(_SHORTEST, 20) if len({name[:n] for name in names}) == len(names)), 99
    )


def _line(entry: Mapping[str, Any], length: int) -> tuple[str, ...]:
    used = "by a session" if entry["in_use"] else f"{roughly(time.time() - entry['used'])} ago"
    return (
        entry["name"][:length],
        plain(str(entry["label"])),
        plain(str(entry.get("python") or "-")),
        plain(str(entry.get("made_by") or "-")),
        f"{entry['size'] / 1e6:,.0f} MB",
        used if entry["usable"] else "unusable: its Python is gone",
    )
