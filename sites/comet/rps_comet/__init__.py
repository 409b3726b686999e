"""Comet, at SDSC: a Slurm cluster whose login nodes are comet-ln1, comet-ln2, …"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable

from rps_core.plugin import Claim, Cluster, Host, hookimpl

COMET = Cluster(name="comet", site="comet", scheduler="slurm")
# In full: comet-14-01 is a compute node, from where one does not start sessions.
_LOGIN_NODE = re.compile(r"comet-ln[0-9]+")


@hookimpl
def rps_clusters() -> Sequence[Cluster]:
    """Comet alone."""
    return [COMET]


@hookimpl
def rps_detect_cluster(host: Host) -> Claim | None:
    """A login node by its name."""
    if not _LOGIN_NODE.fullmatch(host.hostname):
        return None
    return Claim(
        cluster=COMET,
        reasons=(f"the host name {host.hostname} is that of a login node (comet-ln<N>)",),
    )


@hookimpl
def rps_site_config() -> Traversable:
    """Beside this module."""
    return files(__name__) / "site.yaml"
