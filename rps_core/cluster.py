"""Where we are: the cluster, its plugins and its configuration, found in one step."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rps_core import settings
from rps_core.plugins import Plugins, Site, this_host
from rps_core.settings import Loaded


@dataclass(frozen=True, slots=True)
class Here:
    """A cluster that can be asked, with its configuration."""

    site: Site
    reasons: tuple[str, ...]
    loaded: Loaded


def find(
    wanted: str | None,
    options: Mapping[str, object] | None = None,
    assignments: Sequence[str] = (),
) -> Here:
    """Detect the cluster (or take `wanted`, or RPS_CLUSTER) and load its configuration.

    Raises:
        DetectionError: see `Plugins.detect`.
        UsageError: the configuration is wrong.
    """
    plugins = Plugins.load()
    detection = plugins.detect(this_host(), wanted or os.environ.get("RPS_CLUSTER"))
    site = plugins.site(detection.cluster)
    loaded = settings.load(
        detection.cluster.name,
        site.scheduler_config(),
        site.site_config(),
        environment=os.environ,
        options=options or {},
        assignments=assignments,
    )
    return Here(site, detection.reasons, loaded)
