"""Where we are: the cluster, its plugins and its configuration, found in one step."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from rps_core import settings
from rps_core.plugins import Plugins, Site, this_host
from rps_core.settings import Given, Loaded


@dataclass(frozen=True, slots=True)
class Here:
    """A cluster that can be asked, with its configuration."""

    site: Site
    reasons: tuple[str, ...]
    loaded: Loaded

    def given(self, given: Given) -> Here:
        """The same, as if this had been given to the command."""
        return replace(self, loaded=configuration(self.site, given))


def find(
    wanted: str | None,
    given: Given | None = None,
    *,
    inside: bool = False,
) -> Here:
    """Detect the cluster (or take `wanted`, or RPS_CLUSTER) and load its configuration. `inside`: see
    `Plugins.detect`.

    Raises:
        DetectionError: see `Plugins.detect`.
        UsageError: the configuration is wrong.
    """
    plugins = Plugins.load()
    wanted = wanted or os.environ.get("RPS_CLUSTER")
    detection = plugins.detect(this_host(), wanted, inside=inside)
    site = plugins.site(detection.cluster)
    return Here(site, detection.reasons, configuration(site, given or Given()))


def configuration(site: Site, given: Given) -> Loaded:
    """All layers for this cluster.

    Raises:
        UsageError: see `settings.load`.
    """
    return settings.load(
        site.cluster.name,
        site.scheduler_config(),
        site.site_config(),
        environment=os.environ,
        given=given,
    )
