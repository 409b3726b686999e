"""Show the progress of a build: a line redrawn on a terminal, else one line a step."""

from __future__ import annotations

import sys
import time

import click

from rps_core.display.live import LiveRegion
from rps_core.log import before_each_line
from rps_core.text import plain, roughly

_EVERY = 0.1  # seconds between two drawings
# What uv and pip print of each single package is shown, and not kept.
_STEPS = ("make a venv", "install", "add ipykernel", "waiting for ")


class Building:
    """The progress of one environment's build.

    `label` names the environment; `quiet`: print nothing.
    """

    def __init__(self, label: str, *, quiet: bool) -> None:
        self._label = label
        self._quiet = quiet
        self._area = LiveRegion(sys.stderr, wanted=not quiet)
        self._began = time.monotonic()
        self._drawn = 0.0
        self._said = False

    def say(self, line: str) -> None:
        """Show a line of progress."""
        if self._quiet:
            return
        if not self._said:
            self._said = True
            click.echo(f"Building the environment {plain(self._label)}", err=True)
        if self._area.live:
            now = time.monotonic()
            if now - self._drawn >= _EVERY:
                self._drawn = now
                before_each_line(self._area.clear)
                self._area.draw([f"  {roughly(now - self._began)}: {plain(line)}"], clip=True)
        elif line.startswith(_STEPS):
            click.echo(f"  {plain(line)}", err=True)

    def removed(self, label: str, reason: str) -> None:
        """Print which other environment was removed, and why."""
        if not self._quiet:
            before_each_line(None)
            self._area.clear()
            click.echo(f"Removed the environment {plain(label)}: {reason}", err=True)

    def __enter__(self) -> Building:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        before_each_line(None)
        self._area.clear()
        if self._said and kind is None:
            took = roughly(time.monotonic() - self._began)
            click.echo(f"Built the environment {plain(self._label)} in {took}", err=True)
