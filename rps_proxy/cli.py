"""`rps proxy`: the commands of the Reverse Proxy Service."""

from __future__ import annotations

from pathlib import Path

import click

from rps_proxy import options
from rps_proxy.engine_cli import engine


@click.group()
def proxy() -> None:
    """The Reverse Proxy Service: run it, or ask about it."""


proxy.add_command(engine)


@proxy.command()
@options.configuration
@options.assignment
def serve(config_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Run the service in the foreground, until SIGTERM or Ctrl-C."""
    from rps_proxy.launch import run
    from rps_proxy.settings import load
    from rps_proxy.systemd_notify import told_ready

    run(load(config_file, assignments), ready=lambda _port: told_ready())


@proxy.command()
@options.configuration
@options.assignment
def ca(config_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Print the path of the CA certificate that browsers are to trust."""
    from rps_core.errors import UsageError
    from rps_proxy.launch import require_libraries
    from rps_proxy.settings import load

    settings = load(config_file, assignments)
    if settings.tls.certificate is not None:
        raise UsageError(
            f"This service has a certificate of its own: {settings.tls.certificate}",
            "Browsers need no further CA if theirs signed it.",
        )
    require_libraries("proxy")
    from rps_proxy.tls import front_authority

    click.echo(front_authority(settings).certificate_file)


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@proxy.command()
@_json
@options.configuration
@options.assignment
def status(config_file: Path | None, assignments: tuple[str, ...], *, as_json: bool) -> None:
    """Say how the service stands: sessions by phase, engine, certificate."""
    import json

    from rps_proxy import operate
    from rps_proxy.readiness import CAUSES
    from rps_proxy.settings import load

    found = operate.status(load(config_file, assignments))
    if as_json:
        click.echo(json.dumps(found))
        return
    for phase, number in found["sessions"].items():
        click.echo(f"{phase:8}{number:8}")
    if not found["running"]:
        click.echo("The service is not running.", err=True)
        return
    step = "in step" if found["engine_in_step"] else "not in step"
    workers = f", {found['workers']} workers" if found["workers"] > 1 else ""
    click.echo(f"engine   {found['engine']}{workers}, {step}, {found['routes']} routes")
    click.echo(f"running  for {found['uptime'] / 3600:.1f} hours, version {found['version']}")
    click.echo(f"TLS      certificate valid for {found['certificate_days']} days")
    for what in found.get("lacking", ()):  # an earlier version, which still runs, does not say
        click.echo(f"not ready: {CAUSES[what]}")
    if found["draining"]:
        click.echo("draining: no new names")


@proxy.command()
@_json
@options.configuration
@options.assignment
def sessions(config_file: Path | None, assignments: tuple[str, ...], *, as_json: bool) -> None:
    """List the sessions that are not gone."""
    import json

    from rps_proxy import operate
    from rps_proxy.settings import load

    found = operate.sessions(load(config_file, assignments))
    if as_json:
        click.echo(json.dumps(found))
        return
    for each in found:
        phase = "lapsed" if each["lapsed"] else each["phase"]
        where = f"{each['address']}:{each['port']}" if each["address"] else "-"
        columns = (each["name"], phase, each["user"], each["job_id"], where, each["created"])
        click.echo("  ".join(str(column or "-") for column in columns))


@proxy.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--reason", default="ended by the operator", help="What the session's page says.")
@options.configuration
@options.assignment
def revoke(
    names: tuple[str, ...], reason: str, config_file: Path | None, assignments: tuple[str, ...]
) -> None:
    """End sessions: their routes, and all that is under way on them."""
    from rps_proxy import operate
    from rps_proxy.settings import load

    operate.revoke(load(config_file, assignments), list(names), reason)


@proxy.command()
@click.option("--off", is_flag=True, help="Issue names again.")
@options.configuration
@options.assignment
def drain(config_file: Path | None, assignments: tuple[str, ...], *, off: bool) -> None:
    """Issue no new names; sessions go on. Holds until --off, restarts included."""
    from rps_proxy import operate
    from rps_proxy.settings import load

    operate.drain(load(config_file, assignments), on=not off)


@proxy.command()
@click.option("--cluster", metavar="NAME", help="The cluster to ask, in place of `feed.cluster`.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Tell the service over its API, with this key, and not over the admin socket.",
)
@options.configuration
@options.assignment
def feed(
    cluster: str | None,
    key_file: Path | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Ask the scheduler once for all unfinished jobs, and tell the service how they stand."""
    from rps_core.cluster import find
    from rps_proxy.feed import feed, over_the_api, over_the_socket
    from rps_proxy.settings import load

    settings = load(config_file, assignments)
    here = find(cluster or settings.feed.cluster)
    service = over_the_api(here, key_file) if key_file else over_the_socket(here, settings)
    click.echo(feed(here, service))


@proxy.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@options.configuration
@options.assignment
def backup(file: Path, config_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Copy the registry to FILE, while the service runs."""
    from rps_proxy import operate
    from rps_proxy.settings import load

    operate.backup(load(config_file, assignments), file)


@proxy.command()
@click.argument(
    "directory", type=click.Path(path_type=Path, file_okay=False), default=Path("/etc/rps")
)
def init(directory: Path) -> None:
    """Write a commented configuration and systemd units to DIRECTORY (/etc/rps); overwrites nothing."""
    from rps_proxy.init import init

    for path in init(directory):
        click.echo(path)
