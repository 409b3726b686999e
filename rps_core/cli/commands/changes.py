"""The commands that change a session: who may use it, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rps_core.cli.options import as_json, common, completed, optional_name
from rps_core.errors import UsageError
from rps_core.help import Command

if TYPE_CHECKING:
    from rps_core.sessions.application import Application


@click.command(cls=Command)
@optional_name
@click.option(
    "--all", "everything", is_flag=True, help="Stop all your sessions (default: only NAME)."
)
@as_json
@common
def stop(app: Application, *, name: str | None, everything: bool, as_json: bool) -> None:
    """Stop a session: cancel its job and remove its route.

    NAME is a session's name or label, or a unique prefix of one (default: your only running session).
    """
    import json

    from rps_core.display.wording import error_text
    from rps_core.sessions import actions
    from rps_core.text import plain

    stopped, failures = actions.stop(app, name, everything=everything)
    if as_json:
        click.echo(json.dumps([session.as_json() for session in stopped], indent=1))
    else:
        if not (stopped or failures):
            click.echo("No sessions to stop.", err=True)
        for session in stopped:
            click.echo(f"{session.record.name}: {plain(session.reason or session.state)}", err=True)
    for error in failures[:-1]:
        click.echo(error_text(error), err=True)
    if failures:
        raise failures[-1]


@click.command(cls=Command)
@optional_name
@click.option("--for", "duration", metavar="TIME",
              help="Make a link that works for TIME: 1h, 90m, 1-12:00:00 (default: none).")  # fmt: skip
@click.option("--list", "listing", is_flag=True, help="List the links that work.")
@click.option(
    "--revoke", metavar="ID", help="Take the link ID back, or with `all` every one (default: none)."
)
@as_json
@common
def share(
    app: Application, *, name: str | None, duration: str | None, listing: bool, revoke: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Let others use a session for a time.

    NAME is a session's name or label, or a unique prefix of one (default: your only running session).
    Who opens the link can do in the session all that you can, and acts in your name.
    """
    from rps_core.display import shares as display
    from rps_core.sessions import sharing

    if sum((duration is not None, listing, revoke is not None)) != 1:
        raise UsageError(
            "--for, --list or --revoke: one of them is needed", "`rps share --for 1h` makes a link."
        )
    if duration is not None:
        display.print_new(sharing.share(app, name, duration), as_json=as_json)
    elif revoke is not None:
        display.print_revoked(*sharing.revoke(app, name, revoke), as_json=as_json)
    else:
        display.print_list(*sharing.listed(app, name), as_json=as_json)


@click.command(cls=Command)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=completed("ended"))
@as_json
@common
def forget(app: Application, *, names: tuple[str, ...], as_json: bool) -> None:
    """Remove the records and logs of ended sessions.

    NAME is a session's name or label, or a unique prefix of one (default: all that have ended).
    A session that has not ended is not removed.
    """
    import json

    from rps_core.sessions import actions

    forgotten = actions.forget(app.store, names)
    if as_json:
        click.echo(json.dumps([record.name for record in forgotten], indent=1))
    elif not forgotten:
        click.echo("No ended sessions to forget.", err=True)
    for record in () if as_json else forgotten:
        click.echo(f"{record.called}: forgotten", err=True)
