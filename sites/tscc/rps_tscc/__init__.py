"""TSCC, the Triton Shared Computing Cluster at SDSC: Torque; login nodes tscc-login1, tscc-login2, …"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.plugin import Claim, Cluster, Host, hookimpl

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

TSCC = Cluster(name="tscc", site="tscc", scheduler="torque")
# In full: tscc-0-12 is a compute node, from where one does not start sessions, and tscc-stratus is the
# login node of Stratus, another cluster with another scheduler.
_LOGIN_NODE = re.compile(r"tscc-login[0-9]+")


@hookimpl
def rps_clusters() -> Sequence[Cluster]:
    """TSCC alone."""
    return [TSCC]


@hookimpl
def rps_detect_cluster(host: Host) -> Claim | None:
    """A login node by its name, with Torque's qsub on it: a machine that has the name of one and
    no qsub is a copy of it, or the cluster has changed its scheduler since this was written."""
    if not _LOGIN_NODE.fullmatch(host.hostname) or "qsub" not in host.commands:
        return None
    return Claim(
        cluster=TSCC,
        reasons=(
            f"the host name {host.hostname} is that of a login node (tscc-login<N>)",
            f"Torque's qsub is there ({host.commands['qsub']})",
        ),
    )


@hookimpl
def rps_site_config() -> Traversable:
    """Beside this module."""
    return Path(__file__).with_name("site.yaml")
