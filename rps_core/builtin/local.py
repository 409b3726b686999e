"""The site `local`: one machine without a cluster, its own scheduler and its own service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.plugin import Claim, Cluster, Host, hookimpl

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

LOCAL = Cluster(name="local", site="local", scheduler="local")


@hookimpl
def rps_clusters() -> Sequence[Cluster]:
    """This machine."""
    return [LOCAL]


@hookimpl(trylast=True)
def rps_detect_cluster(host: Host) -> Claim | None:
    """A host without a scheduler, unless somebody knows better."""
    if host.commands:
        return None
    return Claim(
        cluster=LOCAL,
        reasons=("no scheduler's command (sbatch, qsub) is on the PATH", "no site claims the host"),
        fallback=True,
    )


@hookimpl
def rps_site_config() -> Traversable:
    """Beside this module."""
    return Path(__file__).with_name("local.yaml")
