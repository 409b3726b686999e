"""The site toyland: a host with Toy's commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from rps_core.plugin import (
    Claim,
    Cluster,
    Host,
    JobRequest,
    RequestChange,
    RequestRefusedError,
    hookimpl,
)

RPS_INTERFACE = (1, 0)
TOYLAND = Cluster(name="toyland", site="toyland", scheduler="toy")


@hookimpl
def rps_clusters() -> Sequence[Cluster]:
    """Return the one cluster."""
    return [TOYLAND]


@hookimpl
def rps_detect_cluster(host: Host) -> Claim | None:
    """Claim a host that has Toy's commands."""
    if "toysub" not in host.commands:
        return None
    return Claim(cluster=TOYLAND, reasons=("toysub is on the PATH",), cluster_name="toyland")


@hookimpl
def rps_site_config() -> Path:
    """Return the site's settings."""
    return Path(__file__).with_name("site.yaml")


@hookimpl
def rps_check_request(request: JobRequest) -> RequestChange | None:
    """Refuse the partition `shelf`, and give the partition `slow` an hour."""
    wanted = request.allocation
    if wanted.partition == "shelf":
        raise RequestRefusedError(
            "The toys on the shelf are not to be played with.\n  They are old.", "Ask grandfather."
        )
    hour = timedelta(hours=1)
    if wanted.partition == "slow" and wanted.walltime < hour:
        return RequestChange(
            allocation=replace(wanted, walltime=hour), reason="Slow toys take an hour."
        )
    return None
