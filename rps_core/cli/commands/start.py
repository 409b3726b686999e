"""`rps start` and `rps again`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from rps_core import help as sections
from rps_core.cli.options import (
    Command,
    WithArguments,
    any_name,
    chosen,
    common,
    completed,
    flags,
    json_option,
    refuse_beside,
    settings,
)
from rps_core.errors import InterruptedByUserError, UsageError

if TYPE_CHECKING:
    from rps_core.cluster import ClusterContext
    from rps_core.config.settings import Overrides
    from rps_core.launch.choice import Order
    from rps_core.launch.plan import Plan
    from rps_core.sessions.application import Application
    from rps_core.sessions.session import SessionView
    from rps_core.state.store import Store


_SESSION: dict[str, Any] = {"cls": sections.Option, "section": "Session"}
_OUTPUT: dict[str, Any] = {"cls": sections.Option, "section": sections.OUTPUT}


_name = click.option(
    "--name", "label", metavar="NAME", **_SESSION,
    help="Label that distinguishes the session from your others; commands take it in place of the three "
         "words (default: none).",
)  # fmt: skip


_add_kernel = click.option(
    "--add-kernel", is_flag=True, cls=sections.Option, section="Environment",
    help="Add a kernel to the environment first, with the environment's own tool, if it has none.",
)  # fmt: skip


def _output(command: Command) -> Command:
    """Add the options for what is printed, and when."""
    for option in reversed((
        click.option("--wait/--no-wait", default=None, **_OUTPUT,
                     help="Return once the notebook answers, or after submission "
                          "(default: --wait on a terminal)."),
        click.option("--dry-run", is_flag=True, **_OUTPUT,
                     help="Print the batch script without submitting it."),
        click.option("-i", "--info", is_flag=True, **_OUTPUT,
                     help="Print details of the job on stderr."),
        click.option("-q", "--quiet", is_flag=True, **_OUTPUT, help="Print only the URL."),
        json_option(sections.OUTPUT),
    )):  # fmt: skip
        command = option(command)
    return command


@click.command(cls=WithArguments)
@click.argument("profile", required=False, shell_complete=completed("profile"))
@settings
@click.option("--profile", "named_profile", metavar="NAME", **_SESSION,
              help="Profile of your configuration, like PROFILE (default: none).",
              shell_complete=completed("profile"))  # fmt: skip
@_add_kernel
@_name
@click.option("--foreground", is_flag=True, **_SESSION,
              help="Keep your personal service in this terminal until the session ends, on login nodes "
                   "that end what users leave running.")  # fmt: skip
@click.option("--last", is_flag=True, **_SESSION,
              help="Use the settings of your last session on this cluster.")  # fmt: skip
@click.option("--here", "inside", is_flag=True, **_SESSION,
              help="Run in this shell's allocation (salloc, qsub -I), without a new job.")  # fmt: skip
@_output
@common
def start(
    app: Application, *, profile: str | None, named_profile: str | None, last: bool, inside: bool,
    label: str | None, foreground: bool, dry_run: bool, wait: bool | None, info: bool, quiet: bool,
    as_json: bool, add_kernel: bool, **options: Any,
) -> None:  # fmt: skip
    """Start a notebook and print its URL.

    PROFILE names a set of settings in your configuration (`profiles`). Options override the profile, the
    profile overrides the configuration (`rps config`), and the defaults below apply to the rest.
    ARGUMENTs are the application's: `rps start -s command -- streamlit run app.py`.
    """
    if None not in (profile, named_profile) and profile != named_profile:
        raise UsageError(
            f"PROFILE and --profile differ: {profile} and {named_profile}", "Give only one of them."
        )
    given = _given(app, options, named_profile if profile is None else profile)
    if inside:
        from rps_core.launch import allocation as held

        held.refuse_job_options(given)
    if last:
        from rps_core.launch import rerun as again

        here = again.as_before(app.find(inside=inside), app.store, None, given)
        label = again.label(here, app.store, None) if label is None else label
    else:
        here = app.find(given, inside=inside)
    _start(
        here, app.store, label=label, inside=inside, foreground=foreground, dry_run=dry_run, wait=wait,
        info=info, quiet=quiet, as_json=as_json, add_kernel=add_kernel,
    )  # fmt: skip


@click.command(cls=WithArguments)
@any_name
@settings
@click.option("--profile", metavar="NAME", **_SESSION,
              help="Profile that overrides the session's settings (default: none).",
              shell_complete=completed("profile"))  # fmt: skip
@_add_kernel
@_name
@_output
@common
def again(
    app: Application, *, name: str | None, profile: str | None, label: str | None, dry_run: bool,
    wait: bool | None, info: bool, quiet: bool, as_json: bool, add_kernel: bool, **options: Any,
) -> None:  # fmt: skip
    """Start a session with the settings of an earlier one.

    NAME is the name or label of a running or ended session, or a unique prefix of one (default: your last
    session on this cluster). Options override its settings. Its label is kept, if no running session has it.
    """
    from rps_core.launch import rerun as earlier

    given = _given(app, options, profile)
    here = earlier.as_before(app.find(inside=False), app.store, name, given)
    label = earlier.label(here, app.store, name) if label is None else label
    _start(
        here,
        app.store,
        label=label,
        dry_run=dry_run,
        wait=wait,
        info=info,
        quiet=quiet,
        as_json=as_json,
        add_kernel=add_kernel,
    )


def _given(app: Application, options: dict[str, Any], profile: str | None) -> Overrides:
    from rps_core.config.settings import Overrides

    found = chosen(options)
    return Overrides(
        options=found, flags=flags(found), assignments=app.assignments, profile=profile
    )


def _start(
    here: ClusterContext, store: Store, *, label: str | None = None, inside: bool = False,
    foreground: bool = False, dry_run: bool, wait: bool | None, info: bool, quiet: bool, as_json: bool,
    add_kernel: bool = False,
) -> None:  # fmt: skip
    if dry_run:
        refuse_beside("--dry-run", {
            "--add-kernel": add_kernel, "--foreground": foreground, "--wait": wait or None, "--json": as_json,
        })  # fmt: skip
    if foreground and wait is False:
        refuse_beside("--foreground", {"--no-wait": True})
    from rps_core.launch import plan as planning

    records = list(store.records())
    if label is not None:
        from rps_core.state.label import check_new

        check_new(label, records)
    if here.note and not (quiet or as_json):
        click.echo(here.note, err=True)
    unused = [] if inside or quiet or as_json else here.unused_variables()
    if unused:
        click.echo(
            f"Without effect on the job: {', '.join(unused)}. Use rps's options, or `job.directives`.",
            err=True,
        )
    allocation = None
    if inside:
        from rps_core.launch import allocation as held

        allocation = held.allocation(here, records)
    plan = planning.plan(here, dry_run=dry_run, inside=allocation, add_kernel=add_kernel)
    for note in () if quiet or as_json else plan.environment.notes:
        click.echo(note, err=True)
    for change in () if quiet or as_json else plan.changes:
        click.echo(str(change), err=True)
    if dry_run:
        if plan.account_note and not quiet:
            click.echo(plan.account_note, err=True)
        from rps_core.launch import spec

        script = spec.dry_run(here, plan, store)
        if not quiet:
            click.echo(f"Environment: {plan.environment.environment.described()}", err=True)
        click.echo(script, nl=False)
        return
    from rps_core.display.screen import Screen
    from rps_core.launch import start as launch
    from rps_core.sessions.session import come_back, submitted
    from rps_core.system.signals import DeferredSignals

    if foreground:
        from rps_core.proxy_client.personal import carry_for

        carry_for(here)
    if plan.environment.order is not None:
        plan = _with_environment(here, plan, plan.environment.order, store, quiet=quiet or as_json)
    screen = Screen(quiet=quiet or as_json)
    screen.others(records)
    follow = sys.stderr.isatty() and sys.stdout.isatty() if wait is None else wait
    follow = follow or foreground
    with DeferredSignals() as interrupts:
        record = launch.start(here, plan, store, interrupts, records, label)
        session = submitted(record, store)
        if foreground or not (as_json and follow):
            _print(session, as_json)
        screen.started(record, plan.account_note)
        if info:
            from rps_core.display.session import print_info

            print_info(record, here, store)
        if follow:  # here, so that Ctrl-C meanwhile is answered with the session's name
            from rps_core.display import following
    if interrupts.came:
        raise InterruptedByUserError(come_back(record))
    own_ca = record.own_service and (session.url or "").startswith("https:")
    if own_ca and not (quiet or as_json) and _on_a_terminal():
        from pathlib import Path

        from rps_core.cli.trust_question import ask_once

        try:
            ask_once(Path(record.endpoint.ca_file or ""))
        except click.Abort:
            raise InterruptedByUserError(come_back(record)) from None
    if foreground:
        session = following.carry(record, here, store, screen)
        if session.state == "failed":
            following.raise_if_failed(session, store)
    elif follow:
        session = following.follow(record, here, store, screen)
        if as_json:
            _print(session, as_json)
        following.raise_if_failed(session, store)
        screen.link(session)


def _with_environment(
    here: ClusterContext, plan: Plan, order: Order, store: Store, *, quiet: bool
) -> Plan:
    """Build the environment on this host, and return the plan with it; or see that the job can."""
    from rps_core.display.building import Building
    from rps_core.launch import made
    from rps_core.launch import plan as planning

    if order.in_the_job:
        made.check_resolvable(order)
        return plan
    with Building(order.recipe.label, quiet=quiet) as building:
        for gone in made.build(order, here.loaded, store, building.say)[1]:
            building.removed(gone.label, gone.reason)
    return planning.with_built_environment(here.loaded, plan)


def _on_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()


def _print(session: SessionView, as_json: bool) -> None:
    import json

    try:
        click.echo(json.dumps(session.as_json()) if as_json else session.url)
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk
        from rps_core.sessions.session import come_back

        raise UsageError(
            f"Cannot print the URL: {error.strerror}", come_back(session.record)
        ) from None
