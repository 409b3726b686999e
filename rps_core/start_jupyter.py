"""`start-jupyter`: the command that rps succeeds, with its options and its positional time."""

from __future__ import annotations

from typing import Any

import click

from rps_core.cli import leave, run
from rps_core.commands.start import start
from rps_core.errors import UsageError


def _start(*, minutes: str | None, **options: Any) -> None:
    """Start a notebook and print its URL, as `rps start` does. MINUTES may stand in any place."""
    if minutes is not None:
        if options["job__walltime"] not in (None, minutes):
            raise UsageError(
                f"Two times were given: {options['job__walltime']} and {minutes}",
                "Give one of them.",
            )
        options["job__walltime"] = minutes
    if options["notebook__app"] is None and options["notebook__template"] is None:
        options["notebook__app"] = "notebook"  # what start-jupyter started
    if start.callback is not None:
        start.callback(profile=None, **options)


command = click.Command(
    "start-jupyter",
    params=[
        *(parameter for parameter in start.params if not isinstance(parameter, click.Argument)),
        click.Argument(["minutes"], required=False),
    ],
    callback=_start,
    help=_start.__doc__,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """The entry point of `start-jupyter`."""
    run(command)
    leave()
