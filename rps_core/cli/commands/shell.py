"""Shell completion and the man page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rps_core.cli.options import common
from rps_core.help import Command

if TYPE_CHECKING:
    from rps_core.sessions.application import Application

SHELLS = ("bash", "fish", "zsh")


@click.command(cls=Command)
@click.argument("shell", required=False, metavar="[SHELL]", type=click.Choice(SHELLS))
@click.option("--refresh", is_flag=True, hidden=True)
@common
def completion(app: Application, *, shell: str | None, refresh: bool) -> None:
    """Print the completion script for a shell.

    SHELL is bash, fish or zsh; without it, print how to install the script. Sessions, profiles, partitions
    and allocations are completed too.
    """
    from rps_core.cli import completion_scripts as shell_scripts

    if refresh:
        shell_scripts.refresh(app)
    elif shell is None:
        click.echo(shell_scripts.HOW_TO_INSTALL)
    else:
        click.echo(shell_scripts.script(click.get_current_context().find_root().command, shell))


@click.command(cls=Command)
def man() -> None:
    """Print the man page rps(1).

    View it with `rps man | man -l -`.
    """
    from rps_core.cli import manpage as manual

    click.echo(manual.page(click.get_current_context().find_root().command), nl=False)
