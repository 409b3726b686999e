"""`rps proxy engine`: the configuration of the program that carries the traffic, and the program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rps_proxy import options

if TYPE_CHECKING:
    from types import ModuleType

    from rps_proxy.settings import Settings


@click.group()
def engine() -> None:
    """The program that carries the traffic, where it is not the service itself."""


@engine.command()
@options.configuration
@options.assignment
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write it into this directory; else it is printed.",
)
def render(config_file: Path | None, assignments: tuple[str, ...], output: Path | None) -> None:
    """Write the engine's configuration."""
    settings = _settings(config_file, assignments)
    texts = _program(settings).render(settings, settings.engine_path)
    if output is None:
        click.echo("\n".join(texts.values()), nl=False)
        return
    output.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (output / name).write_text(text, encoding="utf-8")
        click.echo(output / name)


@engine.command()
@options.configuration
@options.assignment
def check(config_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Have the engine itself verify the configuration that the service wrote."""
    settings = _settings(config_file, assignments)
    _check(settings)
    click.echo("The engine takes its configuration.", err=True)


@engine.command()
@options.configuration
@options.assignment
def run(config_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Check the configuration and become the engine, in the foreground."""
    import os

    from rps_proxy.engines.external import hold_engine

    settings = _settings(config_file, assignments)
    command = _check(settings)
    hold_engine(settings)
    os.execvp(command[0], command)  # noqa: S606 - no shell is meant


def _check(settings: Settings) -> list[str]:
    """The engine's command, once it has taken its configuration.

    Raises:
        ServiceError: the service was not started yet, or the engine refuses or is not there.
    """
    import subprocess

    from rps_core.errors import ServiceError

    program, directory = _program(settings), settings.engine_path
    try:
        written = (directory / program.CONFIG).exists()
    except PermissionError as error:
        raise ServiceError(
            f"{directory} is for the engine's account, and the service's.",
            "Run this as that account, or as root.",
        ) from error
    if not written:
        raise ServiceError(
            f"There is no configuration of the engine at {directory / program.CONFIG}.",
            "The service writes it, with certificate and routes: start `rps proxy serve` first.",
        )
    check = program.check_command(settings, directory)
    try:
        done = subprocess.run(check, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ServiceError(
            f"{check[0]} cannot be run: {error.strerror}",
            f"Install {program.WANTED}, or name the program (`{settings.engine_kind}.program`).",
        ) from error
    if done.returncode:
        raise ServiceError(
            f"{check[0]} refuses {directory / program.CONFIG}:\n{done.stderr.strip()}",
            "See its messages.",
        )
    command: list[str] = program.run_command(settings, directory)
    return command


def _program(settings: Settings) -> ModuleType:
    """The module of the configured engine."""
    from rps_proxy.engines import apache, haproxy

    return apache if settings.engine_kind == "apache" else haproxy


def _settings(config_file: Path | None, assignments: tuple[str, ...]) -> Settings:
    from rps_core.errors import UsageError
    from rps_proxy.settings import load

    settings = load(config_file, assignments)
    if settings.engine_kind == "embedded":
        raise UsageError(
            f"The engine {settings.engine_kind} has no configuration of this kind.",
            "Set `engine` to haproxy or apache.",
        )
    return settings
