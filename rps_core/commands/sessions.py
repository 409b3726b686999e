"""The commands about sessions that there are."""

from __future__ import annotations

from typing import Any

import click

from rps_core.options import any_name, as_json, common, find, optional_name, store


@click.command("list", short_help="List your sessions, the lately ended ones too.")
@click.option("-a", "--all", "everything", is_flag=True, help="All that ended, too.")
@as_json
@common
def list_(*, everything: bool, as_json: bool, **options: Any) -> None:
    """List your sessions: those that live, and those that ended in the last days, with the cause."""
    import json

    from rps_core import listing

    if as_json:
        sessions = listing.surveyed(lambda: find(options), everything=everything)
        click.echo(json.dumps([session.as_json() for session in sessions], indent=1))
    else:
        store(options)
        listing.print_list(lambda: find(options), everything=everything)


@click.command()
@any_name
@click.option("-w", "--watch", is_flag=True, help="Go on until it is over. Ctrl-C ends nothing.")
@as_json
@common
def status(*, name: str | None, watch: bool, as_json: bool, **options: Any) -> None:
    """Show one session. NAME may be shortened, or left out when there is only one."""
    import json

    from rps_core import interface

    if watch:
        store(options)
        session, _ = interface.followed(lambda: find(options), name, quiet=as_json, until_over=True)
        if not as_json:
            return  # it has been seen
    else:
        session = interface.one(lambda: find(options), name)
    if as_json:
        click.echo(json.dumps(session.as_json(), indent=1))
    else:
        interface.print_session(session)


@click.command(short_help="Tell why a session waits, is not ready, or ended.")
@any_name
@as_json
@common
def why(*, name: str | None, as_json: bool, **options: Any) -> None:
    """Tell why a session is as it is: why it waits, does not get ready, or ended. NAME may be shortened; left
    out, it is the only one that lives, or else the last."""
    import json

    from rps_core import inquiry

    sessions = store(options)
    record = sessions.find_last(name)
    answer = inquiry.inquire(record, lambda: find(options)[0], sessions)
    if as_json:
        click.echo(json.dumps(answer.as_json(), indent=1))
    else:
        inquiry.print_answer(answer)


@click.command()
@optional_name
@as_json
@common
def url(*, name: str | None, as_json: bool, **options: Any) -> None:
    """Print the URL of a session again."""
    import json

    from rps_core import interface

    session = interface.visitable(store(options), name)
    found = {"name": session.record.name, "url": session.url}
    click.echo(json.dumps(found) if as_json else session.url)


@click.command(short_help="Print what a session's job wrote.")
@any_name
@click.option("-f", "--follow", is_flag=True, help="Go on until the session is over.")
@common
def logs(*, name: str | None, follow: bool, **options: Any) -> None:
    """Print what a session's job wrote. NAME may be shortened; left out, it is the only one that lives, or
    else the last."""
    from rps_core import interface

    interface.print_log(lambda: find(options), name, follow=follow)


@click.command()
@optional_name
@click.option("--all", "everything", is_flag=True, help="Every session.")
@as_json
@common
def stop(*, name: str | None, everything: bool, as_json: bool, **options: Any) -> None:
    """End a session: its job and its route."""
    import json

    from rps_core import interface
    from rps_core.wording import error_told, plain

    stopped, failures = interface.stop(lambda: find(options), name, everything=everything)
    if as_json:
        click.echo(json.dumps([session.as_json() for session in stopped], indent=1))
    else:
        if not (stopped or failures):
            click.echo("There is no session to stop.", err=True)
        for session in stopped:
            click.echo(f"{session.record.name}: {plain(session.reason or session.state)}", err=True)
    for error in failures[:-1]:
        click.echo(error_told(error), err=True)
    if failures:
        raise failures[-1]


COMMANDS = (list_, status, why, url, logs, stop)
