"""The commands that show and explain sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rps_core.cli.options import any_name, as_json, common, completed, optional_name
from rps_core.errors import UsageError
from rps_core.help import Command

if TYPE_CHECKING:
    from rps_core.sessions.application import Application


@click.command("list", cls=Command)
@click.option(
    "-a",
    "--all",
    "everything",
    is_flag=True,
    help="Include all ended sessions (default: the last ten of the last three days).",
)
@as_json
@common
def list_(app: Application, *, everything: bool, as_json: bool) -> None:
    """List your sessions with their states.

    Those that have not ended come first. The last ten that ended in the last three days follow, with the
    cause. With --json, ended sessions are listed only with --all.
    """
    import json

    from rps_core.display import table
    from rps_core.sessions import actions

    if as_json:
        sessions = actions.surveyed(app, everything=everything)
        click.echo(json.dumps([session.as_json() for session in sessions], indent=1))
    else:
        table.print_list(app, everything=everything)


@click.command(cls=Command)
@any_name
@click.option(
    "-w",
    "--watch",
    is_flag=True,
    help="Follow the session until it ends; Ctrl-C stops only this command.",
)
@click.option(
    "--foreground",
    is_flag=True,
    help="With --watch: keep your personal service in this terminal meanwhile.",
)
@as_json
@common
def status(
    app: Application, *, name: str | None, watch: bool, foreground: bool, as_json: bool
) -> None:
    """Show the state of one session.

    NAME is a session's name or label, or a unique prefix of one (default: your only running session).
    """
    import json

    from rps_core.display.session import print_session
    from rps_core.sessions import actions

    if foreground and not watch:
        raise UsageError("--foreground needs --watch", "Give both.")
    if watch:
        from rps_core.display.following import followed

        session = followed(app, name, quiet=as_json, until_over=True, foreground=foreground)
        if not as_json:
            return  # the user has seen it
    else:
        session = actions.one(app, name)
    if as_json:
        click.echo(json.dumps(session.as_json(), indent=1))
    else:
        print_session(session)


@click.command(cls=Command)
@any_name
@as_json
@common
def why(app: Application, *, name: str | None, as_json: bool) -> None:
    """Explain why a session is waiting, not ready, or ended.

    NAME is a session's name or label, or a unique prefix of one (default: your only running session, else
    the last one).
    """
    import json

    from rps_core.display.explanation import print_explanation
    from rps_core.sessions.explain import explain

    answer = explain(app, name)
    if as_json:
        click.echo(json.dumps(answer.as_json(), indent=1))
    else:
        print_explanation(answer)


@click.command(cls=Command)
@optional_name
@click.option(
    "--ssh",
    is_flag=True,
    help="Print the ssh command for your own computer, where the URL needs one, in place of the URL.",
)
@click.option(
    "--app",
    "other",
    metavar="APP",
    shell_complete=completed("app"),
    help="Application of the session to open (default: the one that it was started with).",
)
@click.option(
    "--api",
    is_flag=True,
    help="Print the token for VS Code and other programs, in place of the URL: a secret.",
)
@as_json
@common
def url(
    app: Application, *, name: str | None, ssh: bool, other: str | None, api: bool, as_json: bool
) -> None:
    """Print the URL of a session.

    NAME is a session's name or label, or a unique prefix of one (default: your only running session).
    Where login links work once (`notebook.link`), the link is a new one, and those before it work no more.
    """
    import json

    from rps_core.sessions import actions
    from rps_core.sessions.session import tunnel_json

    given = [flag for flag, value in (("--ssh", ssh), ("--api", api), ("--app", other)) if value]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} cannot be combined", "Give only one of them.")
    if ssh and as_json:
        raise UsageError(
            "--ssh and --json cannot be combined", "`rps url --json` has the same as `tunnel`."
        )
    if api:
        from rps_core.display import api_token

        record, token = actions.api_token(app, name)
        api_token.print_token(record, token, as_json=as_json)
        return
    if ssh:
        session = actions.visitable(app, name)
        from rps_core.display.screen import forwarding_command

        command = forwarding_command(session.record)
        if command is None:
            raise UsageError(
                f"{session.record.name} needs no ssh: its URL is reached directly",
                "`rps url` prints it.",
            )
        click.echo(command)
        return
    session = actions.openable(app, name, new=True, other=other)
    if not as_json:
        click.echo(session.url)
        return
    record, tunnel = session.record, tunnel_json(session.record)
    shown = {"name": record.name, "url": session.url, "link": record.link, "tunnel": tunnel}
    click.echo(json.dumps(shown))


@click.command(cls=Command)
@any_name
@click.option("-f", "--follow", is_flag=True, help="Print new output until the session ends.")
@common
def logs(app: Application, *, name: str | None, follow: bool) -> None:
    """Print the output of a session's job.

    NAME is a session's name or label, or a unique prefix of one (default: your only running session, else
    the last one).
    """
    from rps_core.display.log import print_log

    print_log(app, name, follow=follow)
