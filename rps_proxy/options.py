"""The options that every command of the service takes."""

from __future__ import annotations

from pathlib import Path

import click

configuration = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration file, in place of /etc/rps/proxy.yaml.",
)
assignment = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set one key of the configuration, such as listen.port=443.",
)
