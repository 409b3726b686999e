"""`rps logs`: the output of a session's job."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from rps_core.errors import NotFoundError
from rps_core.sessions import status as sessions
from rps_core.state import lookup

if TYPE_CHECKING:
    from rps_core.sessions.application import Application


def print_log(app: Application, name: str | None, *, follow: bool) -> None:
    """Print the job's log; with `follow` until the session has ended."""
    store = app.store
    record = lookup.find_last(store, name)
    files = store.files(record.name)
    here = app.here if follow and record.ended is None else None
    position = 0
    next_poll = time.monotonic()
    over = here is None
    while True:
        if here is not None and time.monotonic() >= next_poll:
            # Ask the scheduler too: a killed job leaves no event of its end.
            over = sessions.survey([store.load(record.name)], here, store)[0].over
            next_poll = time.monotonic() + here.loaded.settings.scheduler.poll_interval
        # Torque spools the output of a script until the script opens its log.
        spool = files.directory / "spool.log"
        log_file = files.log_file if files.log_file.exists() else spool
        if log_file.exists():
            with log_file.open("rb") as stream:
                # The agent may have shortened the log; new output is at its end.
                position = min(position, stream.seek(0, os.SEEK_END))
                stream.seek(position)
                data = stream.read()
            position += len(data)
            text = data.decode("utf-8", "replace")
            click.echo(text, nl=False)
        elif not follow:
            raise NotFoundError(
                f"{record.name} has no log yet: its job has not started",
                f"See `rps status {record.name}`.",
            )
        if over or not follow:
            return
        time.sleep(0.5)
