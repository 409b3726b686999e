"""TSCC, the Triton Shared Computing Cluster at SDSC, a Torque cluster.

Its login nodes are tscc-login1, tscc-login2, …
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

TSCC = Cluster(name="tscc", site="tscc", scheduler="torque")
# Matched in full: tscc-0-12 is a compute node, on which no session is started, and tscc-stratus is the
# login node of Stratus, another cluster with another scheduler.
_LOGIN_NODE = re.compile(r"tscc-login[0-9]+")
_NO_COMMANDS = (
    "Load the module of the scheduler and try again. If this is another machine: --cluster local starts "
    "sessions on it itself."
)


@hookimpl
def rps_clusters() -> Sequence[Cluster]:
    """Return TSCC alone."""
    return [TSCC]


@hookimpl
def rps_detect_cluster(host: Host) -> Claim | None:
    """Claim a login node by its name and by Torque's qsub.

    Without qsub no session can be started from it, unless the cluster has changed to Slurm since this was
    written: then Slurm's own answer decides.
    """
    if not _LOGIN_NODE.fullmatch(host.hostname):
        return None
    why = f"the host name {host.hostname} is that of a login node (tscc-login<N>)"
    qsub = host.commands.get("qsub")
    if qsub is not None:
        return Claim(cluster=TSCC, reasons=(why, f"Torque's qsub is there ({qsub})"))
    if "sbatch" in host.commands:
        return None
    said = f"{host.hostname} is a login node of TSCC, but `qsub` is not on the PATH"
    return Claim(cluster=TSCC, reasons=(why,), unusable=said, advice=_NO_COMMANDS)


@hookimpl
def rps_site_config() -> Traversable:
    """Return the settings beside this module."""
    return Path(__file__).with_name("site.yaml")
