"""Comet, at SDSC: a Slurm cluster whose login nodes are comet-ln1, comet-ln2, …"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.plugin import Claim, Cluster, Host, Shell, hookimpl, slurm_cluster_name

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

COMET = Cluster(name="comet", site="comet", scheduler="slurm")
# In full: comet-14-01 (rack, slot) is a compute node, from where one does not start sessions.
_LOGIN_NODE = re.compile(r"comet-ln[0-9]+")
_COMPUTE_NODE = re.compile(r"comet-[0-9]+-[0-9]+")
# Of Comet perhaps, under a name we do not know: Slurm is asked.
_MAYBE_OURS = re.compile(r"(comet(-[a-z0-9-]+)?|[a-z0-9-]+\.comet)\.sdsc\.edu")


@hookimpl
def rps_clusters() -> Sequence[Cluster]:
    """Comet alone."""
    return [COMET]


@hookimpl
def rps_detect_cluster(host: Host, shell: Shell) -> Claim | None:
    """A login node by its name and by `sbatch`; a host of another name by what its Slurm calls itself."""
    if _COMPUTE_NODE.fullmatch(host.hostname):
        said = f"{host.hostname} is a compute node of Comet: sessions are started on comet-ln<N>"
        return Claim(cluster=COMET, reasons=(said,), unusable=said)
    sbatch = host.commands.get("sbatch")
    if _LOGIN_NODE.fullmatch(host.hostname):
        why = f"the host name {host.hostname} is that of a login node (comet-ln<N>)"
        if sbatch is None:
            said = f"{host.hostname} is a login node of Comet, but `sbatch` is not on the PATH"
            return Claim(cluster=COMET, reasons=(why,), unusable=said)
    elif sbatch is None:
        return None
    elif _MAYBE_OURS.fullmatch(host.fqdn) and slurm_cluster_name(shell) == "comet":
        why = f"{host.fqdn} is in our domain, and its Slurm calls the cluster `comet`"
    else:
        return None
    return Claim(cluster=COMET, reasons=(why, f"`sbatch` is there ({sbatch})"))


@hookimpl
def rps_site_config() -> Traversable:
    """Beside this module."""
    return Path(__file__).with_name("site.yaml")
