"""`rps start` and `rps again`: what starts a session."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from rps_core.errors import InterruptedByUserError, UsageError
from rps_core.options import Command, any_name, as_json, chosen, common, completed, find, settings

if TYPE_CHECKING:
    from rps_core.cluster import Here
    from rps_core.session import Session
    from rps_core.settings import Given
    from rps_core.store import Store


def _flags(command: Command) -> Command:
    """The options that say how to start, rather than what."""
    for option in (
        as_json,
        click.option("-q", "--quiet", is_flag=True, help="Print the URL alone."),
        click.option("-i", "--info", is_flag=True, help="Say more about the job, on stderr."),
        click.option(
            "--wait/--no-wait",
            default=None,
            help="Return when the notebook answers, or after submission. On a terminal: --wait.",
        ),
        click.option("--dry-run", is_flag=True, help="Print the batch script, and do nothing."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("profile", required=False, shell_complete=completed("profile"))
@settings
@click.option("--profile", "named_profile", metavar="NAME", help="As PROFILE.",
              shell_complete=completed("profile"))  # fmt: skip
@click.option("--last", is_flag=True, help="Take the settings of your last session here.")
@click.option("--here", "inside", is_flag=True,
              help="In the allocation that this shell is in (salloc, qsub -I): no new job.")  # fmt: skip
@_flags
@common
def start(
    *, profile: str | None, named_profile: str | None, last: bool, inside: bool, dry_run: bool,
    wait: bool | None, info: bool, quiet: bool, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Start a notebook and print its URL.

    PROFILE names a set of settings in your configuration (`profiles`); options beat it.
    """
    if None not in (profile, named_profile) and profile != named_profile:
        raise UsageError(
            f"Two profiles were given: {named_profile} and {profile}", "Give one of them."
        )
    given = _given(options, named_profile if profile is None else profile)
    if inside:
        from rps_core import held

        held.refuse_job_options(given.options)
    if last:
        from rps_core import again

        here, store = again.as_before(find(options, inside=inside), None, given)
    else:
        here, store = find(options, given, inside=inside)
    _start(
        here, store, inside=inside, dry_run=dry_run, wait=wait, info=info, quiet=quiet, as_json=as_json
    )  # fmt: skip


@click.command(short_help="Start a session like NAME anew.")
@any_name
@settings
@click.option("--profile", metavar="NAME", help="Take the settings of a profile on top.",
              shell_complete=completed("profile"))  # fmt: skip
@_flags
@common
def again(
    *, name: str | None, profile: str | None, dry_run: bool, wait: bool | None, info: bool, quiet: bool,
    as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Start a session like NAME anew, with all its settings; options beat them.

    NAME may be shortened, and be of a session that has ended; left out, it is your last one here.
    """
    from rps_core import again as earlier

    given = _given(options, profile)
    here, store = earlier.as_before(find(options, inside=False), name, given)
    _start(here, store, dry_run=dry_run, wait=wait, info=info, quiet=quiet, as_json=as_json)


def _given(options: dict[str, Any], profile: str | None) -> Given:
    from rps_core.settings import Given

    return Given(options=chosen(options), assignments=options["assignments"], profile=profile)


def _start(
    here: Here, store: Store, *, inside: bool = False, dry_run: bool, wait: bool | None, info: bool,
    quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    from rps_core import held, interface, launch, planning, shell
    from rps_core.interrupts import Held
    from rps_core.session import come_back

    allocation = held.allocation(here, store.records(), shell.run) if inside else None
    plan = planning.plan(here, shell.run, dry_run=dry_run, inside=allocation)
    if dry_run:
        if plan.account_note:
            click.echo(plan.account_note, err=True)
        click.echo(launch.dry_run(here, plan, store), nl=False)
        return
    screen = interface.Screen(quiet=quiet or as_json)
    follow = sys.stderr.isatty() and sys.stdout.isatty() if wait is None else wait
    with Held() as interrupts:
        record = launch.start(here, plan, store, shell.run, interrupts)
        session = interface.first_sight(record, store)
        if not (as_json and follow):
            _print(session, as_json)
        screen.started(record, plan.account_note)
        if info:
            interface.print_info(record, here, store)
    if interrupts.came:
        raise InterruptedByUserError(come_back(record))
    if follow:
        session = interface.follow(record, here, store, screen)
        if as_json:
            _print(session, as_json)
        interface.raise_if_failed(session, store)


def _print(session: Session, as_json: bool) -> None:
    import json

    click.echo(json.dumps(session.as_json()) if as_json else session.url)


COMMANDS = (start, again)
