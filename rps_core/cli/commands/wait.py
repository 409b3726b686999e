"""The commands that wait for a session or open it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rps_core.cli.options import as_json, common, optional_name
from rps_core.help import Command

if TYPE_CHECKING:
    from rps_core.sessions.application import Application


@click.command(cls=Command)
@optional_name
@click.option(
    "--timeout",
    metavar="TIME",
    help="Time to wait: minutes, HH:MM:SS or D-HH:MM:SS; exit code 8 afterwards (default: no limit).",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only the URL.")
@as_json
@common
def wait(
    app: Application,
    *,
    name: str | None,
    timeout: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Wait until a session is ready and print its URL.

    NAME is a session's name or label, or a unique prefix of one (default: your only running session).
    The exit code is 6 if the session ends before it is ready.
    """
    import json

    from rps_core.display import following
    from rps_core.errors import StillWaitingError
    from rps_core.units import parse_walltime

    seconds = None if timeout is None else parse_walltime(timeout, "duration").total_seconds()
    session = following.followed(app, name, quiet=quiet or as_json, timeout=seconds)
    if as_json:
        click.echo(json.dumps(session.as_json(), indent=1))
    following.raise_if_failed(session, app.store)
    if session.state != "ready":
        raise StillWaitingError(
            f"{session.record.name} is not ready after {timeout}: its state is {session.state}",
            f"The session continues. `rps why {session.record.name}` explains its state.",
        )
    if not as_json:
        click.echo(session.url)


@click.command("open", cls=Command)
@optional_name
@click.option(
    "--qr",
    is_flag=True,
    help="Print the URL and its QR code instead of opening a browser.",
)
@common
def open_(app: Application, *, name: str | None, qr: bool) -> None:
    """Open a session in the browser of this host.

    NAME is a session's name or label, or a unique prefix of one (default: your only running session).
    The URL is printed if this host has no browser.
    """
    from rps_core.display import browser as opening
    from rps_core.sessions import actions

    session = actions.openable(app, name, new=False)
    if qr:
        click.echo(session.url)
        opening.print_code(str(session.url))
        if session.record.tunnel is not None:
            click.echo("A phone cannot reach this URL: it leads through your own ssh.", err=True)
        elif session.record.own_service:
            click.echo(
                "A phone cannot reach this URL: the service of this host listens on 127.0.0.1 only.",
                err=True,
            )
    # The tunnel ends on the user's own machine, not here.
    elif session.record.tunnel is not None or not opening.in_browser(
        session.record.name, str(session.url)
    ):
        click.echo(session.url)
