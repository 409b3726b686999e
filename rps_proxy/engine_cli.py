"""`rps proxy engine`: the configuration of the program that carries the traffic, and the program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rps_proxy.settings import Settings

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
def engine() -> None:
    """The program that carries the traffic, where it is not the service itself."""


@engine.command()
@_config
@_set
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write it into this directory; else it is printed.",
)
def render(config_file: Path | None, assignments: tuple[str, ...], output: Path | None) -> None:
    """Write the engine's configuration."""
    from rps_proxy.engines.haproxy import CONFIG
    from rps_proxy.engines.haproxy import render as rendered

    settings = _settings(config_file, assignments)
    text = rendered(settings, settings.engine_path)
    if output is None:
        click.echo(text, nl=False)
        return
    output.mkdir(parents=True, exist_ok=True)
    (output / CONFIG).write_text(text, encoding="utf-8")
    click.echo(output / CONFIG)


@engine.command()
@_config
@_set
def check(config_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Have the engine itself verify the configuration that the service wrote."""
    settings = _settings(config_file, assignments)
    _check(settings)
    click.echo("The engine takes its configuration.", err=True)


@engine.command()
@_config
@_set
def run(config_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Check the configuration and become the engine, in the foreground."""
    import os

    settings = _settings(config_file, assignments)
    command = _check(settings)
    os.execvp(command[0], command)  # noqa: S606 - no shell is meant


def _check(settings: Settings) -> list[str]:
    """The engine's command, once it has taken its configuration.

    Raises:
        ServiceError: the service was not started yet, or the engine refuses or is not there.
    """
    import subprocess

    from rps_core.errors import ServiceError
    from rps_proxy.engines.haproxy import CONFIG

    path = settings.engine_path / CONFIG
    if not path.exists():
        raise ServiceError(
            f"There is no configuration of the engine at {path}.",
            "The service writes it, with certificate and routes: start `rps proxy serve` first.",
        )
    command = [settings.haproxy.program, "-f", str(path)]
    try:
        done = subprocess.run([*command, "-c"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise ServiceError(
            f"{settings.haproxy.program} cannot be run: {error.strerror}",
            "Install HAProxy 2.6 or newer, or name the program (`haproxy.program`).",
        ) from error
    if done.returncode:
        raise ServiceError(f"HAProxy refuses {path}:\n{done.stderr.strip()}", "See its messages.")
    return [*command, "-db"]  # in the foreground


def _settings(config_file: Path | None, assignments: tuple[str, ...]) -> Settings:
    from rps_core.errors import UsageError
    from rps_proxy.settings import load

    settings = load(config_file, assignments)
    if settings.engine_kind != "haproxy":
        raise UsageError(
            f"The engine {settings.engine_kind} has no configuration of this kind.",
            "Set `engine: haproxy`.",
        )
    return settings
