"""`rps proxy engine`: the program that carries the traffic, and its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rps_core.help import Group
from rps_proxy.cli import options

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from rps_proxy.settings.model import Settings


@click.group(cls=Group)
def engine() -> None:
    """Render, check and run the engine haproxy or apache."""


@engine.command()
@options.configuration
@options.assignment
@click.option(
    "--output",
    metavar="DIR",
    type=options.PathType(file_okay=False),
    help="Directory for the configuration's files (default: print them).",
)
def render(config_file: Path | None, assignments: tuple[str, ...], output: Path | None) -> None:
    """Print or write the engine's configuration."""
    settings = _settings(config_file, assignments)
    texts = _program(settings).render(settings, settings.engine_path)
    if output is None:
        click.echo("\n".join(texts.values()), nl=False)
        return
    from rps_core.system.files import replace_file

    output.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        replace_file(output / name, text.encode(), 0o666)
        click.echo(output / name)


@engine.command()
@options.configuration
@options.assignment
def check(config_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Let the engine verify the configuration that the service wrote."""
    settings = _settings(config_file, assignments)
    check_engine(settings)
    click.echo("The engine accepts its configuration.", err=True)


@engine.command()
@options.configuration
@options.assignment
@click.option(
    "--last",
    metavar="DIR",
    type=options.PathType(file_okay=False),
    help="Engine directory of the last start, used if the configuration is invalid (default: none).",
)
def run(config_file: Path | None, assignments: tuple[str, ...], last: Path | None) -> None:
    """Check the configuration and run the engine in the foreground."""
    import os

    from rps_proxy.engines import log_filter as engine_log
    from rps_proxy.engines.external import hold_engine
    from rps_proxy.engines.haproxy import configuration as haproxy

    settings = _startable(config_file, assignments, last)
    command = check_engine(settings)
    hold_engine(settings)
    if settings.engine_kind == "haproxy":
        os.environ[haproxy.LOG_DESCRIPTOR] = str(engine_log.start())
    os.execvp(command[0], command)  # noqa: S606 - without a shell


def _startable(
    config_file: Path | None, assignments: tuple[str, ...], last: Path | None
) -> Settings:
    """Return the configured settings, or those of `last` if they are invalid.

    Raises:
        UsageError: the engine is `embedded`.
        ServiceError: neither are usable.
    """
    from rps_core.errors import ServiceError, UsageError
    from rps_core.log import get_logger
    from rps_proxy.engines.external import settings_of_last_start
    from rps_proxy.settings.loading import load

    try:
        settings = load(config_file, assignments)
    except UsageError as error:
        reason, hint = error.message, error.hint
    else:
        settings = _external(settings)
        if last is None or _is_written(settings):
            return settings
        reason, hint = f"The service has not written {settings.engine_path} yet.", ""
    before = None if last is None else settings_of_last_start(last)
    if before is None:
        # Not as a UsageError, whose exit code would keep systemd from trying again.
        raise ServiceError(reason, hint)
    get_logger("rps.engine").warning(
        "engine-started-as-before", reason=reason, directory=str(last),
        advice="correct the configuration, then `systemctl restart rps-proxy rps-proxy-engine`",
    )  # fmt: skip
    return before


def _is_written(settings: Settings) -> bool:
    """Return whether the service wrote the configuration that the engine starts from.

    Raises:
        ServiceError: this account may not read the directory.
    """
    from rps_core.errors import ServiceError

    directory = settings.engine_path
    try:
        return bool((directory / _program(settings).CONFIG).exists())
    except PermissionError as error:
        raise ServiceError(
            f"Cannot read {directory}: only the accounts of the engine and the service may.",
            "Run this as that account, or as root.",
        ) from error


def check_engine(settings: Settings) -> list[str]:
    """Have the engine check its configuration, and return the command that runs it.

    Raises:
        ServiceError: the service was never started, or the engine is missing, does not end, or rejects the
            configuration.
    """
    from rps_core.errors import SchedulerError, ServiceError
    from rps_core.system.shell import run

    program, directory = _program(settings), settings.engine_path
    if not _is_written(settings):
        raise ServiceError(
            f"Could not find the engine's configuration {directory / program.CONFIG}.",
            "Start the service first (`rps proxy serve`): it writes configuration, certificate and routes.",
        )
    check = program.check_command(settings, directory)
    try:
        done = run(*check)
    except SchedulerError as error:
        install = f"Install {program.WANTED}, or set `{settings.engine_kind}.program` to its path."
        raise ServiceError(
            f"Could not check the engine's configuration: {error.message}.",
            "The host may be overloaded: try again." if error.transient else install,
        ) from error
    if done.code:
        raise ServiceError(
            f"{check[0]} rejected {directory / program.CONFIG}:\n{done.stderr.strip()}",
            "Correct what its messages name.",
        )
    command: list[str] = program.run_command(settings, directory)
    return command


def _program(settings: Settings) -> ModuleType:
    """Return the module of the configured engine."""
    from rps_proxy.engines.apache import configuration as apache
    from rps_proxy.engines.haproxy import configuration as haproxy

    return apache if settings.engine_kind == "apache" else haproxy


def _settings(config_file: Path | None, assignments: tuple[str, ...]) -> Settings:
    from rps_proxy.settings.loading import load

    return _external(load(config_file, assignments))


def _external(settings: Settings) -> Settings:
    """Check that the engine is a separate program."""
    from rps_core.errors import UsageError

    if settings.engine_kind == "embedded":
        raise UsageError(
            "The embedded engine has no configuration files.",
            "Set `engine` to haproxy or apache.",
        )
    return settings


engine.add_section("Commands", render, check, run)
