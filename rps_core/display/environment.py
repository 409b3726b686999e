"""Print which environment a session gets, and what else there is: `rps env`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from rps_core.display.prose import echo
from rps_core.text import plain
from rps_core.values import dataclass

_WIDTH = 13  # columns, of the names of the fields
_PLACE = 9  # columns


@dataclass(frozen=True, slots=True)
class Row:
    """One environment: its place, what it is, the option that takes it, and whether it is taken."""

    place: str
    words: str
    option: str
    chosen: bool = False


def print_survey(
    fields: Iterable[tuple[str, str | None]],
    rows: Iterable[Row],
    others: Sequence[Row],
    notes: Iterable[str],
) -> None:
    """Print the choice as fields, the places in their order, and further environments."""
    shown = [(label, value) for label, value in fields if value]
    for label, value in shown:
        echo(f"{label + ':':<{_WIDTH}}{plain(value)}", indent=" " * _WIDTH)
    if shown:
        click.echo()
    click.echo("The first of these that there is:")
    for row in rows:
        _print(row)
    if others:
        click.echo("Others:")
    for row in others:
        _print(row)
    for note in notes:
        echo(plain(note))


def _print(row: Row) -> None:
    indent = " " * (_PLACE + 2)
    echo(f"{'*' if row.chosen else ' '} {row.place:<{_PLACE}}{plain(row.words)}", indent=indent)
    if row.option:
        echo(f"{indent}rps start {row.option}", indent=indent)
