"""The site `generic`: a cluster that no plugin knows; everything comes from the configuration."""

from __future__ import annotations

from collections.abc import Sequence

from rps_core.plugin import Claim, Cluster, Host, hookimpl

SLURM = Cluster(name="generic", site="generic", scheduler="slurm")
TORQUE = Cluster(name="generic-torque", site="generic", scheduler="torque")


@hookimpl
def rps_clusters() -> Sequence[Cluster]:
    """One for each scheduler."""
    return [SLURM, TORQUE]


@hookimpl
def rps_detect_cluster(host: Host) -> Claim | None:
    """A host with a scheduler, unless a site claims it. Slurm ships a `qsub` too, so it goes first."""
    if not host.commands:
        return None
    command = "sbatch" if "sbatch" in host.commands else "qsub"
    return Claim(
        cluster=SLURM if command == "sbatch" else TORQUE,
        reasons=(
            f"`{command}` is there ({host.commands[command]})",
            f"no site claims the host name {host.hostname}",
        ),
        fallback=True,
    )
