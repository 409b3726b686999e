"""Print what is read rather than processed: on a terminal, lines are broken between words."""

from __future__ import annotations

import sys

import click

from rps_core.display.colour import Colours
from rps_core.system.terminal import columns_of, wrapped


def echo(text: str, *, err: bool = False, indent: str | None = None) -> None:
    """Print text, which may have colours.

    Args:
        text: one line or several.
        err: print on stderr.
        indent: of the lines that follow a break; None: as the line that is broken.
    """
    stream = sys.stderr if err else sys.stdout
    columns = columns_of(stream)
    shown = text if columns is None else wrapped(text, max(1, columns - 1), indent)
    click.echo(shown, err=err, color=Colours(stream).on)
