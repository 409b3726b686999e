"""What a shell and `man` are told of the commands: completion, and the page of the manual."""

from __future__ import annotations

from typing import Any

import click

from rps_core.options import common

SHELLS = ("bash", "fish", "zsh")


@click.command(short_help="Print what makes a shell complete rps.")
@click.argument("shell", required=False, type=click.Choice(SHELLS))
@click.option("--refresh", is_flag=True, hidden=True)
@common
def completion(*, shell: str | None, refresh: bool, **options: Any) -> None:
    """Print what makes SHELL complete rps; without SHELL, how to install it.

    Names of sessions, profiles, partitions and allocations are completed too.
    """
    from rps_core import shell_scripts

    if refresh:
        shell_scripts.refresh(options)
    elif shell is None:
        click.echo(shell_scripts.HOW_TO_INSTALL)
    else:
        click.echo(shell_scripts.script(click.get_current_context().find_root().command, shell))


@click.command(short_help="Print rps(1), the page of the manual.")
def man() -> None:
    """Print rps(1), the page of the manual: `rps man | man -l -`."""
    from rps_core import manual

    click.echo(manual.page(click.get_current_context().find_root().command), nl=False)


COMMANDS = (completion, man)
