"""The site `generic`: a cluster that no plugin knows; everything comes from the configuration."""

from __future__ import annotations

from collections.abc import Sequence

from rps_core.plugin import Claim, Cluster, Host, Shell, hookimpl
from rps_core.schedulers.torque_product import scheduler_of_qstat

SLURM = Cluster(name="generic", site="generic", scheduler="slurm")
TORQUE = Cluster(name="generic-torque", site="generic", scheduler="torque")
PBS = Cluster(name="generic-pbs", site="generic", scheduler="pbs")


@hookimpl
def rps_clusters() -> Sequence[Cluster]:
    """One for each scheduler."""
    return [SLURM, TORQUE, PBS]


@hookimpl(trylast=True)
def rps_detect_cluster(host: Host, shell: Shell) -> Claim | None:
    """A host with a scheduler, unless a site claims it. Slurm ships a `qsub` too, so it goes first."""
    if not host.commands:
        return None
    unclaimed = f"no site claims the host name {host.hostname}"
    if "sbatch" in host.commands:
        there = f"`sbatch` is there ({host.commands['sbatch']})"
        return Claim(cluster=SLURM, reasons=(there, unclaimed), fallback=True)
    cluster = PBS if scheduler_of_qstat(shell) == "pbs" else TORQUE
    there = (
        f"`qsub` is there ({host.commands['qsub']}), and `qstat --version` is {cluster.scheduler}'s"
    )
    return Claim(cluster=cluster, reasons=(there, unclaimed), fallback=True)
