"""Options of every `rps proxy` command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pathlib import Path


class PathType(click.Path):
    """A path, converted to `pathlib.Path`, which is imported at the first one: no `--help` loads it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Convert a value; click calls this."""
        from pathlib import Path

        path: str = super().convert(value, param, ctx)  # type: ignore[assignment]
        return Path(path)


configuration = click.option(
    "--config",
    "config_file",
    type=PathType(dir_okay=False),
    metavar="FILE",
    help="Configuration file (default: /etc/rps/proxy.yaml).",
)
assignment = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Configuration key to set, such as listen.port=443; repeatable (default: none).",
)
