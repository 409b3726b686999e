"""`rps proxy`: the commands of the Reverse Proxy Service."""

from __future__ import annotations

from pathlib import Path

import click

from rps_proxy.engine_cli import engine

_config = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration file, in place of /etc/rps/proxy.yaml.",
)
_set = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set one key of the configuration, such as listen.port=443.",
)


@click.group()
def proxy() -> None:
    """The Reverse Proxy Service: run it, or ask about it."""


proxy.add_command(engine)


@proxy.command()
@_config
@_set
def serve(config_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Run the service in the foreground, until SIGTERM or Ctrl-C."""
    from rps_proxy.launch import run
    from rps_proxy.settings import load

    run(load(config_file, assignments))


@proxy.command()
@_config
@_set
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


@proxy.command()
@_config
@_set
def status(config_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Say how many sessions the registry holds, by phase."""
    from rps_core.errors import NotFoundError
    from rps_proxy.registry import Registry
    from rps_proxy.settings import load

    path = load(config_file, assignments).service_directory / "registry.db"
    if not path.exists():
        raise NotFoundError(f"There is no registry at {path}.", "Has the service ever run there?")
    registry = Registry(path)
    try:
        for phase, number in registry.counts().items():
            click.echo(f"{phase:8}{number:8}")
    finally:
        registry.close()
