"""`rps proxy feed`. It is the launcher's, because it queries a scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rps_core.help import Command
from rps_proxy.cli import options

if TYPE_CHECKING:
    from pathlib import Path


@click.command(cls=Command)
@click.option("--cluster", metavar="NAME", help="Cluster to query (default: `feed.cluster`).")
@click.option(
    "--key-file",
    metavar="FILE",
    type=options.PathType(dir_okay=False),
    help="API key, for a service on another host (default: the admin socket).",
)
@options.configuration
@options.assignment
def feed(
    cluster: str | None,
    key_file: Path | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Report all unfinished jobs of the cluster to the service, once."""
    from rps_core.cluster import find
    from rps_core.proxy_client.endpoint import configured_endpoint
    from rps_core.proxy_client.job_feed import over_the_api, over_the_socket
    from rps_core.sessions.feed import feed
    from rps_core.text import plain
    from rps_proxy.settings.loading import load

    settings = load(config_file, assignments)
    here = find(cluster or settings.feed.cluster, inside=True)
    name = here.site.cluster.name
    if key_file is not None:
        service = over_the_api(name, configured_endpoint(here.loaded), key_file)
    else:
        service = over_the_socket(name, settings)
    click.echo(plain(feed(here, service)))  # it quotes the scheduler
