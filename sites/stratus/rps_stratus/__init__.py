"""Stratus, at SDSC: a Slurm cluster with the login node tscc-stratus.

It shares the first part of its name and the domain of its notebooks with TSCC, which is another cluster
with another scheduler (Torque).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.plugin import Claim, Cluster, Host, hookimpl

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

RPS_INTERFACE = (1, 0)

STRATUS = Cluster(name="stratus", site="stratus", scheduler="slurm")
_LOGIN_NODE = "tscc-stratus"
_NO_COMMANDS = (
    "Load the module of the scheduler and try again. If this is another machine: --cluster local starts "
    "sessions on it itself."
)
# Hosts that may be Stratus's, by other names; tscc-login1 is TSCC's, and does not match.
_MAYBE_OURS = re.compile(r"((tscc-)?stratus(-?[a-z0-9]+)?|[a-z0-9-]+\.stratus)\.sdsc\.edu")


@hookimpl
def rps_clusters() -> Sequence[Cluster]:
    """Return Stratus alone."""
    return [STRATUS]


@hookimpl
def rps_detect_cluster(host: Host) -> Claim | None:
    """Claim the login node by its name, any other host by Slurm's cluster name.

    Both need `sbatch` on the PATH, which TSCC does not have.
    """
    sbatch = host.commands.get("sbatch")
    cluster_name = None
    if host.hostname == _LOGIN_NODE:
        why = f"the host name is {_LOGIN_NODE}, that of the login node"
        if sbatch is None:
            said = f"{_LOGIN_NODE} is the login node of Stratus, but `sbatch` is not on the PATH"
            return Claim(cluster=STRATUS, reasons=(why,), unusable=said, advice=_NO_COMMANDS)
    elif sbatch is None:
        return None
    elif _MAYBE_OURS.fullmatch(host.fqdn):
        why, cluster_name = f"{host.fqdn} is in Stratus's domain", "stratus"
    else:
        return None
    return Claim(
        cluster=STRATUS, reasons=(why, f"`sbatch` is there ({sbatch})"), cluster_name=cluster_name
    )


@hookimpl
def rps_site_config() -> Traversable:
    """Return the settings beside this module."""
    return Path(__file__).with_name("site.yaml")
