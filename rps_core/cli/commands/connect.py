"""`rps connect`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from rps_core import help as sections
from rps_core.cli.options import (
    Command,
    WithArguments,
    arguments_of,
    as_words,
    common,
    completed,
    json_option,
    refuse_beside,
    settings,
)
from rps_core.errors import UsageError

if TYPE_CHECKING:
    from rps_core.connect.answers import RemoteSession
    from rps_core.connect.destination import Destination
    from rps_core.connect.hosts import Host
    from rps_core.connect.remote import Remote
    from rps_core.sessions.application import Application

_CONNECT: dict[str, Any] = {"cls": sections.Option, "section": "Connection"}
_OUTPUT: dict[str, Any] = {"cls": sections.Option, "section": sections.OUTPUT}


def _start_options(command: Command) -> Command:
    """Add the options of `rps start` on the host, and its PROFILE."""
    for option in reversed((
        click.argument("profile", required=False),
        settings,
        click.option("--name", "label", metavar="NAME", cls=sections.Option, section="Session",
                     help="Label for a new session (default: none)."),
        click.option("--last", is_flag=True, cls=sections.Option, section="Session",
                     help="Use the settings of your last session there."),
    )):  # fmt: skip
        command = option(command)
    return command


def _as_words(
    cluster: str | None, assignments: Sequence[str], options: dict[str, Any]
) -> list[str]:
    """Remove the options of `_start_options`; return the given ones as words of a command line."""
    profile = options.pop("profile")
    words = [f"--cluster={cluster}"] if cluster else []
    words += [f"--set={each}" for each in assignments]
    label = options.pop("label")
    words += [f"--name={label}"] if label is not None else []
    words += ["--last"] if options.pop("last") else []
    return words + as_words(options) + ([profile] if profile else [])


@click.command("options", cls=WithArguments)
@_start_options
@common
def _options_alone(_app: Application, **_options: Any) -> None:
    """Parse the options of a host in connect.yaml."""


@click.command(cls=WithArguments)
@click.argument("host", shell_complete=completed("host"))
@_start_options
@click.option("--new", is_flag=True, **_CONNECT,
              help="Start a session, also if one is running.")  # fmt: skip
@click.option("--session", metavar="NAME", **_CONNECT,
              help="Running session to use (default: the only one).")  # fmt: skip
@click.option("--port", type=int, metavar="N", **_CONNECT,
              help="Port of this computer for the tunnel (default: the session's).")  # fmt: skip
@click.option("--install", is_flag=True, **_CONNECT,
              help="Install this version of rps there if it has another or none.")  # fmt: skip
@click.option("--list", "listing", is_flag=True, **_CONNECT, help="List your sessions there.")
@click.option("--stop", "stopping", is_flag=True, **_CONNECT,
              help="Stop a session there: --session, or the only one.")  # fmt: skip
@click.option(
    "--url", "url_only", is_flag=True, **_CONNECT, help="Print the URL of a session there."
)
@click.option("--browser/--no-browser", default=None, **_OUTPUT,
              help="Open the session in the browser (default: if there is one).")  # fmt: skip
@json_option(sections.OUTPUT)
@common
def connect(
    app: Application, *, host: str, new: bool, session: str | None, port: int | None, install: bool,
    listing: bool, stopping: bool, url_only: bool, browser: bool | None, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Use a session of a cluster from this computer, by ssh.

    HOST is a login node, as for ssh, or a name of ~/.config/rps/connect.yaml. A running session is used, else
    one is started; PROFILE and the options of `rps start` start one. Ctrl-C leaves it running. ARGUMENTs are
    the application's: `rps connect HOST -s command -- streamlit run app.py`.
    """
    from rps_core.connect import hosts

    words = _as_words(app.cluster, app.assignments, options)
    if sum((listing, stopping, url_only)) > 1:
        raise UsageError("--list, --stop and --url cannot be combined", "Give only one of them.")
    arguments = arguments_of(click.get_current_context())
    if (words or new or arguments is not None) and (listing or stopping or url_only):
        raise UsageError(
            "--list, --stop and --url start no session", "Leave out the options of one."
        )
    without_effect = {"--port": port, "--install": install, "--browser": browser or None}
    if listing:
        refuse_beside("--list", {"--session": session, **without_effect})
    elif stopping:
        refuse_beside("--stop", {"--json": as_json, **without_effect})
    elif url_only:
        refuse_beside("--url", without_effect)
    elif new:
        refuse_beside("--new", {"--session": session})
    if session is not None and (words or arguments is not None):
        raise UsageError(
            "--session names a running session, and options of `rps start` start one",
            "Leave out the one or the others.",
        )
    if port is not None and not 1024 <= port <= 65535:
        raise UsageError(f"--port: {port} is not a port from 1024 to 65535")
    known = hosts.find(host)
    if listing:
        _list(known.destination, as_json)
    elif stopping:
        _stop(known.destination, session)
    elif url_only:
        _url(known.destination, session, as_json)
    else:
        from rps_core.connect import install as installing
        from rps_core.connect import run

        terminal = sys.stdin.isatty() and sys.stderr.isatty()
        wish = run.Wish(
            session=session,
            new=new or (bool(words or arguments) and session is None),
            options=_options(known, words, arguments),
            port=port or known.port,
            terminal=terminal,
            ask=_ask if terminal else None,
            await_user=_await_user if terminal else None,
            provide=lambda remote: installing.provide(
                remote, wanted=install, confirm=_confirm if terminal else None
            ),
            show=lambda found, url: _show(
                found, url, known.browser if browser is None else browser, as_json
            ),
        )
        run.connect(known.destination, wish)


def _options(host: Host, words: list[str], arguments: list[str] | None) -> tuple[str, ...]:
    """Return the options for `rps start` there: connect.yaml's, then those given, then the arguments.

    Raises:
        UsageError: `rps start` has no such options; names the file and the line.
    """
    try:
        context = _options_alone.make_context("options", list(host.options))
    except click.UsageError as error:
        raise UsageError(
            f"{host.place}: `options`: {error.format_message()}", "`rps connect --help` lists them."
        ) from None
    found = context.params
    configured = _as_words(found.pop("cluster"), found.pop("assignments"), found)
    if arguments is None and not any(word.startswith("--app=") for word in words):
        arguments = arguments_of(context)  # they are of the application that the file names
    return (*configured, *words, *(() if arguments is None else ("--", *arguments)))


def _list(destination: Destination, as_json: bool) -> None:
    import json

    from rps_core.connect.remote import Remote
    from rps_core.connect.ssh import Connection
    from rps_core.system.terminal import for_a_terminal

    with Connection(destination) as connection:
        remote = Remote.find(connection)
        if as_json:
            click.echo(json.dumps([one.fields for one in remote.sessions()], indent=1))
        else:
            click.echo(for_a_terminal(remote.table()), nl=False)


def _stop(destination: Destination, name: str | None) -> None:
    from rps_core.connect.remote import Remote
    from rps_core.connect.ssh import Connection

    with Connection(destination) as connection:
        Remote.find(connection).stop(name)


def _url(destination: Destination, name: str | None, as_json: bool) -> None:
    from rps_core.connect import choice
    from rps_core.connect.remote import Remote
    from rps_core.connect.ssh import Connection
    from rps_core.errors import NotFoundError

    with Connection(destination) as connection:
        remote: Remote = Remote.find(connection)
        listed = remote.sessions()
        found = choice.choose(listed, remote.name, name=name, ask=None)
        found = found and remote.opened_by_a_link(found)
    if found is None or found.url is None:
        raise NotFoundError(
            f"No session on {destination.name}", f"`rps connect {destination.name}` starts one."
        )
    _show(found, found.url, browser=False, as_json=as_json)
    if found.tunnel is not None:
        click.echo(
            f"It works on this computer while `rps connect {destination.name}` runs, or this:\n    "
            f"{found.tunnel.command(destination.ssh, remote.host, remote.user)}",
            err=True,
        )


def _show(session: RemoteSession, url: str, browser: bool, as_json: bool) -> None:
    import json

    click.echo(json.dumps({**session.fields, "url": url}) if as_json else url)
    sys.stdout.flush()
    if browser:
        from rps_core.display import browser as opening

        opening.in_browser(session.name, url)


def _ask(living: Sequence[RemoteSession]) -> RemoteSession | None:
    from rps_core.connect import choice

    for number, one in enumerate(living, 1):
        click.echo(f"{number:>3}  {choice.line(one)}", err=True)
    click.echo("  n  a new session", err=True)
    answer = click.prompt(
        "Session", default=str(len(living)), show_choices=False, err=True,
        type=click.Choice([*map(str, range(1, len(living) + 1)), "n"]),
    )  # fmt: skip
    return None if answer == "n" else living[int(answer) - 1]


def _await_user(text: str) -> None:
    click.prompt(text, default="", show_default=False, prompt_suffix=": ", err=True)


def _confirm(question: str) -> bool:
    return click.confirm(question, default=True, err=True)
