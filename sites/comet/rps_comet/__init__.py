"""Comet, a Slurm cluster at SDSC, with the login nodes comet-ln1, comet-ln2, ..."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.plugin import Claim, Cluster, Host, hookimpl

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

RPS_INTERFACE = (1, 0)  # of the plugin interface that this was written for

COMET = Cluster(name="comet", site="comet", scheduler="slurm")
# Matched in full: comet-14-01 (rack, slot) is a compute node, on which no session is started.
_LOGIN_NODE = re.compile(r"comet-ln[0-9]+")
_COMPUTE_NODE = re.compile(r"comet-[0-9]+-[0-9]+")
_NO_COMMANDS = (
    "Load the module of the scheduler and try again. If this is another machine: --cluster local starts "
    "sessions on it itself."
)
# Hosts that may be Comet's, by other names: Slurm's cluster name decides.
_MAYBE_OURS = re.compile(r"(comet(-[a-z0-9-]+)?|[a-z0-9-]+\.comet)\.sdsc\.edu")


@hookimpl
def rps_clusters() -> Sequence[Cluster]:
    """Return Comet alone."""
    return [COMET]


@hookimpl
def rps_detect_cluster(host: Host) -> Claim | None:
    """Claim a login node by its name, any other host by Slurm's cluster name.

    Both need `sbatch` on the PATH.
    """
    cluster_name = None
    if _COMPUTE_NODE.fullmatch(host.hostname):
        said = f"{host.hostname} is a compute node of Comet: start sessions on comet-ln<N>"
        return Claim(cluster=COMET, reasons=(said,), unusable=said)
    sbatch = host.commands.get("sbatch")
    if _LOGIN_NODE.fullmatch(host.hostname):
        why = f"the host name {host.hostname} is that of a login node (comet-ln<N>)"
        if sbatch is None:
            said = f"{host.hostname} is a login node of Comet, but `sbatch` is not on the PATH"
            return Claim(cluster=COMET, reasons=(why,), unusable=said, advice=_NO_COMMANDS)
    elif sbatch is None:
        return None
    elif _MAYBE_OURS.fullmatch(host.fqdn):
        why, cluster_name = f"{host.fqdn} is in Comet's domain", "comet"
    else:
        return None
    return Claim(
        cluster=COMET, reasons=(why, f"`sbatch` is there ({sbatch})"), cluster_name=cluster_name
    )


@hookimpl
def rps_site_config() -> Traversable:
    """Return the settings beside this module."""
    return Path(__file__).with_name("site.yaml")
