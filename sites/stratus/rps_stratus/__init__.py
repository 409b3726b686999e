"""Stratus, at SDSC: a Slurm cluster with the login node tscc-stratus.

It shares the first part of its name and the domain of its notebooks with TSCC, which is another cluster
with another scheduler (Torque).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.plugin import Claim, Cluster, Host, Shell, hookimpl, slurm_cluster_name

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

STRATUS = Cluster(name="stratus", site="stratus", scheduler="slurm")
_LOGIN_NODE = "tscc-stratus"
# Of Stratus perhaps, under a name we do not know (tscc-login1 is TSCC's, and not among them).
_MAYBE_OURS = re.compile(r"((tscc-)?stratus(-?[a-z0-9]+)?|[a-z0-9-]+\.stratus)\.sdsc\.edu")


@hookimpl
def rps_clusters() -> Sequence[Cluster]:
    """Stratus alone."""
    return [STRATUS]


@hookimpl
def rps_detect_cluster(host: Host, shell: Shell) -> Claim | None:
    """The login node by its name and by `sbatch`, which TSCC has not; a host of another name by what
    its Slurm calls itself.
    """
    sbatch = host.commands.get("sbatch")
    if sbatch is None:
        return None
    if host.hostname == _LOGIN_NODE:
        why = f"the host name is {_LOGIN_NODE}, that of the login node"
    elif _MAYBE_OURS.fullmatch(host.fqdn) and slurm_cluster_name(shell) == "stratus":
        why = f"{host.fqdn} is in our domain, and its Slurm calls the cluster `stratus`"
    else:
        return None
    return Claim(cluster=STRATUS, reasons=(why, f"`sbatch` is there ({sbatch})"))


@hookimpl
def rps_site_config() -> Traversable:
    """Beside this module."""
    return Path(__file__).with_name("site.yaml")
