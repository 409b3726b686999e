"""`rps start`, and what starts a session otherwise."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from rps_core.errors import InterruptedByUserError
from rps_core.options import as_json, chosen, common, find, settings

if TYPE_CHECKING:
    from rps_core.sessions import Session


@click.command()
@settings
@click.option("--dry-run", is_flag=True, help="Print the batch script, and do nothing.")
@click.option(
    "--wait/--no-wait",
    default=None,
    help="Return when the notebook answers, or after submission. On a terminal: --wait.",
)
@click.option("-i", "--info", is_flag=True, help="Say more about the job, on stderr.")
@click.option("-q", "--quiet", is_flag=True, help="Print the URL alone.")
@as_json
@common
def start(
    *, dry_run: bool, wait: bool | None, info: bool, quiet: bool, as_json: bool, **options: Any
) -> None:
    """Start a notebook and print its URL."""
    from rps_core import interface, launch, planning, sessions, shell
    from rps_core.interrupts import Held

    here, store = find(options, chosen(options))
    plan = planning.plan(here, shell.run, dry_run=dry_run)
    if dry_run:
        if plan.account_note:
            click.echo(plan.account_note, err=True)
        click.echo(launch.dry_run(here, plan, store), nl=False)
        return
    screen = interface.Screen(quiet=quiet or as_json)
    follow = sys.stderr.isatty() and sys.stdout.isatty() if wait is None else wait
    with Held() as held:
        record = launch.start(here, plan, store, shell.run, held)
        session = interface.first_sight(record, store)
        if not (as_json and follow):
            _print(session, as_json)
        screen.started(record, plan.account_note)
        if info:
            interface.print_info(record, here, store)
    if held.came:
        raise InterruptedByUserError(sessions.come_back(record))
    if follow:
        session = interface.follow(record, here, store, screen)
        if as_json:
            _print(session, as_json)
        interface.raise_if_failed(session, store)


def _print(session: Session, as_json: bool) -> None:
    import json

    click.echo(json.dumps(session.as_json()) if as_json else session.url)


COMMANDS = (start,)
