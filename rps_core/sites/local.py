"""The site `local`: one machine, with rps's own scheduler and service."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.plugin import Allocation, Claim, Cluster, Host, Presence, RequestChange, hookimpl
from rps_core.sites.signs import signs

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from rps_core.plugin import JobRequest

RPS_INTERFACE = (1, 0)

# The fields of an allocation that a key of the job sets, where they have another name.
_FIELDS = {"gpus": ("gpus", "gpu_type"), "memory": ("memory_mb",)}
LOCAL = Cluster(name="local", site="local", scheduler="local")


@hookimpl
def rps_clusters() -> Sequence[Cluster]:
    """Return this machine."""
    return [LOCAL]


@hookimpl(trylast=True)
def rps_detect_cluster(host: Host, schedulers: Mapping[str, Presence]) -> Claim | None:
    """Claim a host that shows no sign of a cluster, and one that does as unusable.

    Programs of a scheduler without a configuration are no sign: the claim then has a note that says so.
    """
    if any(presence.answers or presence.sign for presence in schedulers.values()):
        return None
    seen = [presence.seen for presence in schedulers.values()]
    unclaimed = "no site claims the host"
    found = signs(host.commands, os.environ)
    if found:
        return Claim(
            cluster=LOCAL,
            reasons=(*found, *seen, unclaimed),
            fallback=True,
            unusable=f"This host looks like part of a cluster, and no scheduler that rps knows answers: "
            f"{'; '.join([*found, *seen])}",
            advice="Load the module of the cluster's scheduler and try again; docs/schedulers.md lists the "
            "schedulers. If this is not a cluster: --cluster local starts sessions on this machine itself.",
        )
    return Claim(
        cluster=LOCAL,
        reasons=(*(seen or ["no scheduler's command is on the PATH"]), unclaimed),
        fallback=True,
        note=f"This machine itself is used (the cluster `local`): {'; '.join(seen)}"
        if seen
        else "",
    )


@hookimpl
def rps_check_request(request: JobRequest) -> RequestChange | None:
    """Take out what the command line requests and a process of this machine does not get."""
    allocation = request.allocation
    kept = {field: getattr(allocation, field) for field in ("walltime", "given")}
    nothing = Allocation(**kept)
    taken = {
        field: getattr(nothing, field)
        for key in allocation.given - kept.keys()
        for field in _FIELDS.get(key, (key,))
        if getattr(allocation, field) not in (getattr(nothing, field), 0)
    }
    if not taken:
        return None
    reason = "without a scheduler a session is a process of this machine, and gets no allocation"
    return RequestChange(allocation=replace(allocation, **taken), reason=reason)


@hookimpl
def rps_site_config() -> Traversable:
    """Return the settings beside this module."""
    return Path(__file__).with_name("local.yaml")
