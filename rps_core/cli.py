"""The command line: parse, call one function, print. Imports live in the bodies, so that
`rps --help` loads click and nothing else."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from rps_core.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    InterruptedByUserError,
    RpsError,
    UsageError,
)
from rps_core.options import as_json, chosen, common, optional_name, settings
from rps_core.version import __version__
from rps_proxy.cli import proxy

if TYPE_CHECKING:
    from rps_core.cluster import Here
    from rps_core.sessions import Session
    from rps_core.store import Store

EXIT_CODES = """\b
Exit codes: 0 done, 1 a defect of rps, 2 usage or configuration, 3 no cluster detected,
4 the service, 5 the scheduler, 6 the job or the notebook failed, 7 no such session,
130 interrupted."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(__version__, prog_name="rps", message="%(prog)s %(version)s")
def rps() -> None:
    """Jupyter on a compute node, in the browser at your desk, over HTTPS.

    `rps start` finds out which cluster it is on, submits a job with that cluster's defaults and
    prints the notebook's URL.
    """


@rps.command()
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

    here, store = _here(options, chosen(options))
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
            _print_session(session, as_json)
        screen.started(record, plan.account_note)
        if info:
            interface.print_info(record, here, store)
    if held.came:
        raise InterruptedByUserError(sessions.come_back(record))
    if follow:
        session = interface.follow(record, here, store, screen)
        if as_json:
            _print_session(session, as_json)
        interface.raise_if_failed(session, store)


@rps.command("list")
@click.option("-a", "--all", "everything", is_flag=True, help="Ended sessions too.")
@as_json
@common
def list_(*, everything: bool, as_json: bool, **options: Any) -> None:
    """List your sessions."""
    import json

    from rps_core import interface

    sessions = interface.surveyed(lambda: _here(options), everything=everything)
    if as_json:
        click.echo(json.dumps([session.as_json() for session in sessions], indent=1))
    else:
        interface.print_table(sessions)


@rps.command()
@optional_name
@as_json
@common
def status(*, name: str | None, as_json: bool, **options: Any) -> None:
    """Show one session. NAME may be shortened, or left out when there is only one."""
    import json

    from rps_core import interface

    session = interface.one(lambda: _here(options), name)
    if as_json:
        click.echo(json.dumps(session.as_json(), indent=1))
    else:
        interface.print_session(session)


@rps.command()
@optional_name
@as_json
@common
def url(*, name: str | None, as_json: bool, **options: Any) -> None:
    """Print the URL of a session again."""
    import json

    from rps_core import interface

    session = interface.visitable(_store(options), name)
    found = {"name": session.record.name, "url": session.url}
    click.echo(json.dumps(found) if as_json else session.url)


@rps.command()
@optional_name
@click.option("-f", "--follow", is_flag=True, help="Go on until the session is over.")
@common
def logs(*, name: str | None, follow: bool, **options: Any) -> None:
    """Print what a session's job wrote."""
    from rps_core import interface

    interface.print_log(lambda: _here(options), name, follow=follow)


@rps.command()
@optional_name
@click.option("--all", "everything", is_flag=True, help="Every session.")
@as_json
@common
def stop(*, name: str | None, everything: bool, as_json: bool, **options: Any) -> None:
    """End a session: its job and its route."""
    import json

    from rps_core import interface

    stopped = interface.stop(lambda: _here(options), name, everything=everything)
    if as_json:
        click.echo(json.dumps([session.as_json() for session in stopped], indent=1))
    else:
        for session in stopped:
            click.echo(f"{session.record.name}: {session.reason or session.state}", err=True)


@rps.command()
@as_json
@common
def cluster(*, as_json: bool, **options: Any) -> None:
    """Show which cluster this is, on what evidence, and which plugins are broken."""
    from rps_core import inspection

    _configure_log(options)
    inspection.print_cluster(options["cluster"], as_json=as_json)


@rps.command()
@click.option("--origins", is_flag=True, help="Also the layer, file and line of each value.")
@click.option("--check", is_flag=True, help="Only validate, the sections of other clusters too.")
@as_json
@common
def config(*, origins: bool, check: bool, as_json: bool, **options: Any) -> None:
    """Show the configuration as it is in force here."""
    from rps_core import inspection

    here, _ = _here(options)
    inspection.print_config(here, origins=origins, check=check, as_json=as_json)


rps.add_command(proxy)


def main() -> None:
    """The entry point of `rps`."""
    run(rps)
    leave()


def leave() -> NoReturn:
    """End a command that is done. Python would first take all that it has loaded apart: 5 ms and more."""
    os._exit(EXIT_DONE)


def run(command: click.Command) -> None:
    """Run a command: one door for every error, with its exit code."""
    try:
        _run(command)
    finally:
        import gc

        # What is left at the end goes with the process: Python need not look through it once more.
        gc.freeze()


def _run(command: click.Command) -> None:
    _open_standard_streams()
    try:
        command(standalone_mode=False)
        sys.stdout.flush()
        sys.stderr.flush()
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except RpsError as error:
        click.echo(f"rps: {error.message}", err=True)
        if error.hint:
            click.echo(error.hint, err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read has seen enough. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_DONE)
    except OSError as error:
        if error.filename is None:
            raise
        click.echo(f"rps: {error.filename}: {error.strerror}", err=True)
        click.echo("Mend that, or free some space, and try again.", err=True)
        sys.exit(UsageError.exit_code)


def _open_standard_streams() -> None:
    """Where one is closed, the next file that is opened would take its place."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w")


def _configure_log(options: dict[str, Any]) -> None:
    import gc

    from rps_core import log

    # A command makes little garbage: by default Python looks for it 60 times during our imports alone.
    gc.set_threshold(100_000)

    log.configure(verbosity=options["verbose"], log_format=options["log_format"])


def _store(options: dict[str, Any]) -> Store:
    from rps_core import paths
    from rps_core.store import Store

    _configure_log(options)
    return Store(paths.sessions_dir())


def _here(options: dict[str, Any], given: dict[str, object] | None = None) -> tuple[Here, Store]:
    from rps_core import cluster

    store = _store(options)
    return cluster.find(options["cluster"], given, options["assignments"]), store


def _print_session(session: Session, as_json: bool) -> None:
    import json

    click.echo(json.dumps(session.as_json()) if as_json else session.url)


if __name__ == "__main__":
    main()
