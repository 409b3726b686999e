"""The commands that wait for a session, or take one to it."""

from __future__ import annotations

from typing import Any

import click

from rps_core.options import as_json, common, find, optional_name, store


@click.command()
@optional_name
@click.option(
    "--timeout", metavar="TIME", help="Minutes, HH:MM:SS or D-HH:MM:SS; then exit with 8."
)
@click.option("-q", "--quiet", is_flag=True, help="Print the URL alone.")
@as_json
@common
def wait(
    *, name: str | None, timeout: str | None, quiet: bool, as_json: bool, **options: Any
) -> None:
    """Wait until a session is ready, and print its URL. Exits with 6 where it is over before that."""
    import json

    from rps_core import interface
    from rps_core.errors import StillWaitingError
    from rps_core.quantities import parse_walltime

    store(options)
    seconds = None if timeout is None else parse_walltime(timeout, "length of time").total_seconds()
    session, sessions = interface.followed(
        lambda: find(options), name, quiet=quiet or as_json, timeout=seconds
    )
    if as_json:
        click.echo(json.dumps(session.as_json(), indent=1))
    interface.raise_if_failed(session, sessions)
    if session.state != "ready":
        raise StillWaitingError(
            f"{session.record.name} is not ready after {timeout}: it is {session.state}",
            f"It goes on. `rps why {session.record.name}` tells why.",
        )
    if not as_json:
        click.echo(session.url)


@click.command("open", short_help="Open a session in this machine's browser, or print its URL.")
@optional_name
@click.option("--qr", is_flag=True, help="Print the URL and its QR code, in place of opening it.")
@common
def open_(*, name: str | None, qr: bool, **options: Any) -> None:
    """Open a session in the browser of this machine; where there is none, print its URL."""
    from rps_core import interface, opening

    sessions = store(options)
    session = interface.visitable(sessions, name)
    if qr:
        click.echo(session.url)
        opening.print_code(str(session.url))
        if session.record.own_service:
            click.echo("No phone reaches it: this machine's service is on 127.0.0.1.", err=True)
    elif not opening.in_browser(session):
        click.echo(session.url)


COMMANDS = (wait, open_)
