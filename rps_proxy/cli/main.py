"""`rps proxy`: the commands of the Reverse Proxy Service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rps_core.help import Group
from rps_proxy.cli import options
from rps_proxy.cli.engine import engine

if TYPE_CHECKING:
    from pathlib import Path

RUN = "Run"
EXAMPLES = (
    ("rps proxy init", "Write a configuration and systemd units to /etc/rps."),
    ("rps proxy check", "Check the configuration before a restart."),
    ("rps proxy drain", "Issue no new names, before maintenance."),
)


@click.group(cls=Group, examples=EXAMPLES)
def proxy() -> None:
    """Set up, run and manage the Reverse Proxy Service."""


@proxy.command()
@options.configuration
@options.assignment
def serve(config_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Run the service in the foreground until SIGTERM or Ctrl-C."""
    from rps_proxy.server.run import run
    from rps_proxy.server.systemd import notify_ready
    from rps_proxy.settings.loading import load

    run(load(config_file, assignments), ready=lambda _port: notify_ready())


@proxy.command()
@click.option("--install", is_flag=True, help="Have your browsers trust the CA.")
@click.option("--remove", is_flag=True, help="Undo --install.")
@options.configuration
@options.assignment
def ca(
    config_file: Path | None, assignments: tuple[str, ...], *, install: bool, remove: bool
) -> None:
    """Print the path of the CA certificate that browsers must trust.

    With --install, the browsers of this user trust it: Firefox, Chromium and its relatives, from snap and
    flatpak too; on macOS the login keychain. The CA can sign names below the service's domain only.
    """
    from rps_core.errors import UsageError
    from rps_proxy.server.libraries import require_libraries
    from rps_proxy.settings.loading import load, personal_file

    if install and remove:
        raise UsageError("--install and --remove cannot be combined", "Give only one of them.")

    settings = load(config_file or personal_file(), assignments)
    if settings.tls.certificate is not None:
        raise UsageError(
            f"The service has no CA: `tls.certificate` is {settings.tls.certificate}.",
            "Browsers must trust the CA that signed it, which they do if it is a public CA.",
        )
    require_libraries("proxy")
    from rps_proxy.tls.front import front_authority

    file = front_authority(settings).certificate_file
    if not (install or remove):
        click.echo(file)
        return
    from rps_proxy.cli import trust
    from rps_proxy.trust.certificate import read

    (trust.install if install else trust.remove)(read(file, settings.domain))


@proxy.command()
@options.configuration
@options.assignment
def check(config_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Check configuration, certificate and keys before a restart.

    Run it as the service's account. It changes nothing.
    """
    from rps_proxy.server.libraries import require_libraries
    from rps_proxy.settings.loading import load

    settings = load(config_file, assignments)
    require_libraries("proxy")
    from rps_proxy.cli.check import check

    for warning in check(settings):
        click.echo(f"warning: {warning}", err=True)
    click.echo("The service can start with this configuration.", err=True)


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON (default: text).")


@proxy.command()
@_json
@options.configuration
@options.assignment
def status(config_file: Path | None, assignments: tuple[str, ...], *, as_json: bool) -> None:
    """Show the service's readiness, engine and sessions by phase.

    Exit codes: 0 ready, 4 not running or not answering, 7 no service has ever run in its `directory`,
    9 running but not ready.
    """
    import json

    from rps_proxy.cli import admin_client
    from rps_proxy.settings.loading import load

    settings = load(config_file, assignments)
    found = admin_client.status(settings)
    if as_json:
        click.echo(json.dumps(found))
    else:
        for line in admin_client.status_lines(found):
            click.echo(line)
    admin_client.check_ready(found)


@proxy.command()
@_json
@options.configuration
@options.assignment
def sessions(config_file: Path | None, assignments: tuple[str, ...], *, as_json: bool) -> None:
    """List the sessions that have not ended."""
    import json

    from rps_proxy.cli import admin_client
    from rps_proxy.settings.loading import load

    found = admin_client.sessions(load(config_file, assignments))
    if as_json:
        click.echo(json.dumps(found))
        return
    for each in found:
        phase = "lapsed" if each["lapsed"] else each["phase"]
        where = f"{each['address']}:{each['port']}" if each["address"] else "-"
        # Sent by launchers, unchecked.
        user, job_id = _shown(each["user"]), _shown(each["job_id"])
        columns = (each["name"], phase, user, job_id, where, each["created"])
        click.echo("  ".join(str(column or "-") for column in columns))


def _shown(given: str | None) -> str | None:
    """Quote a value that is not a plain word: a column must contain no blanks."""
    import re

    from rps_core.node.agent.words import quoted, without_addresses

    if given is None or re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@:[\]-]{0,63}", given):
        return given
    return quoted(without_addresses(given)[:64])


@proxy.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--reason",
    default="ended by the operator",
    help="Reason to show on the session's page (default: ended by the operator).",
)
@options.configuration
@options.assignment
def revoke(
    names: tuple[str, ...], reason: str, config_file: Path | None, assignments: tuple[str, ...]
) -> None:
    """End sessions: remove their routes and close their connections."""
    from rps_proxy.cli import admin_client
    from rps_proxy.settings.loading import load

    admin_client.revoke(load(config_file, assignments), list(names), reason)


@proxy.command()
@click.option("--off", is_flag=True, help="End the drain: issue names again.")
@options.configuration
@options.assignment
def drain(config_file: Path | None, assignments: tuple[str, ...], *, off: bool) -> None:
    """Issue no new names; existing sessions continue.

    The drain lasts until --off, also across restarts.
    """
    from rps_proxy.cli import admin_client
    from rps_proxy.settings.loading import load

    admin_client.drain(load(config_file, assignments), on=not off)


@proxy.command()
@click.argument("file", metavar="FILE", type=options.PathType(dir_okay=False))
@options.configuration
@options.assignment
def backup(file: Path, config_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Copy the registry to FILE; the service may run."""
    from rps_proxy.cli.registry_file import backup
    from rps_proxy.settings.loading import load

    backup(load(config_file, assignments), file)


@proxy.command()
@click.argument(
    "directory",
    metavar="[DIR]",
    type=options.PathType(file_okay=False),
    default="/etc/rps",
)
def init(directory: Path) -> None:
    """Write a commented configuration and systemd units to DIR.

    DIR is /etc/rps by default. Existing files are kept.
    """
    from rps_proxy.cli.init import domain_warning, init

    for path in init(directory):
        click.echo(path)
    if warning := domain_warning(directory):
        click.echo(f"warning: {warning}", err=True)


proxy.add_section("Set up", init, check, ca)
proxy.add_section(RUN, serve, engine)
proxy.add_section("Look at the service", status, sessions)
proxy.add_section("Change the service", revoke, drain, backup)
