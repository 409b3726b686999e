"""The site `generic`: clusters without a site plugin.

Only the configuration describes such a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rps_core.plugin import Claim, Cluster, Host, Presence, hookimpl

RPS_INTERFACE = (1, 0)

_SHORT = "slurm"  # its cluster is called `generic`, and every other one `generic-<scheduler>`
_SERVED = "local"  # by the site `local`


@hookimpl
def rps_clusters(schedulers: Sequence[str]) -> Sequence[Cluster]:
    """Return one for each installed scheduler."""
    return [_cluster(name) for name in schedulers if name != _SERVED]


@hookimpl(trylast=True)
def rps_detect_cluster(host: Host, schedulers: Mapping[str, Presence]) -> Claim | None:
    """Claim a host whose scheduler answers, unless a site claims it.

    A host whose scheduler does not answer, but that shows a sign of a cluster, is claimed as unusable: it
    must not become `local` while its scheduler is down.
    """
    unclaimed = f"no site claims the host name {host.hostname}"
    found = sorted(
        ((_cluster(name), presence) for name, presence in schedulers.items()),
        key=lambda each: each[0].name,  # `generic` first: Slurm's wrappers answer as Torque does
    )
    for cluster, presence in found:
        if presence.answers:
            return Claim(cluster=cluster, reasons=(presence.seen, unclaimed), fallback=True)
    for cluster, presence in found:
        if presence.sign:
            return Claim(
                cluster=cluster,
                reasons=(presence.sign, presence.seen, unclaimed),
                fallback=True,
                unusable=f"This host looks like part of a cluster whose scheduler does not answer: "
                f"{presence.sign}; {presence.seen}",
                advice="Try again when the scheduler answers, or when its module is loaded. If this is not a "
                f"cluster: --cluster local starts sessions on this machine itself. "
                f"--cluster {cluster.name} submits anyway.",
            )
    return None


def _cluster(scheduler: str) -> Cluster:
    name = "generic" if scheduler == _SHORT else f"generic-{scheduler}"
    return Cluster(name=name, site="generic", scheduler=scheduler)
