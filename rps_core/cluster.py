"""Detect the cluster, load its plugins and its configuration."""

from __future__ import annotations

import functools
import os
from dataclasses import replace

from rps_core.config import settings
from rps_core.config.settings import LoadedSettings, Overrides
from rps_core.hooks.manager import Plugins, this_host
from rps_core.hooks.site import Site
from rps_core.log import notice
from rps_core.support import set_contact
from rps_core.system import shell
from rps_core.system.shell import Shell
from rps_core.values import dataclass


@dataclass(frozen=True, slots=True)
class ClusterContext:
    """A cluster, its configuration, and the shell that runs the scheduler's commands.

    `note` is what to print when a session starts.
    """

    site: Site
    reasons: tuple[str, ...]
    loaded: LoadedSettings
    shell: Shell
    note: str = ""

    def unused_variables(self) -> list[str]:
        """Return the user's variables for the scheduler's commands that have no effect on a session."""
        variables = self.site.command_variables()
        return [] if variables is None else variables.without_effect(os.environ)

    def given(self, given: Overrides) -> ClusterContext:
        """Return a copy with the configuration under other settings of the command."""
        return replace(self, loaded=configuration(self.site, given))


def find(
    wanted: str | None,
    given: Overrides | None = None,
    *,
    inside: bool = False,
) -> ClusterContext:
    """Detect the cluster and load its configuration.

    A line on stderr reports each faulty plugin that the command continues without, now or at a later call of
    its hooks; and another if such a fault may have led to the wrong cluster.

    Args:
        wanted: the cluster's name; None: that in RPS_CLUSTER, else detected.
        given: settings of the command.
        inside: see `Plugins.detect`.

    Raises:
        DetectionError: see `Plugins.detect`.
        UsageError: the configuration is wrong.
    """
    plugins = Plugins.load(lambda broken: _warn(str(broken)))
    wanted = wanted or os.environ.get("RPS_CLUSTER")
    detection = plugins.detect(this_host(), wanted, inside=inside)
    if detection.doubt:
        _warn(detection.doubt)
    site = plugins.site(detection.cluster)
    loaded = configuration(site, given or Overrides())
    return ClusterContext(
        site, detection.reasons, loaded, shell.bound(site.command_variables()), detection.note
    )


@functools.cache
def _warn(text: str) -> None:
    """Print a warning, each once for a command."""
    notice(f"rps: warning: {text}")


def configuration(site: Site, given: Overrides) -> LoadedSettings:
    """Merge all layers of this cluster's configuration.

    Raises:
        UsageError: see `settings.load`.
    """
    variables = site.command_variables()
    loaded = settings.load(
        site.cluster.name,
        site.scheduler_config(),
        site.site_config(),
        environment=os.environ,
        given=given,
        scheduler_variables={} if variables is None else variables.settings,
    )
    support = loaded.settings.support
    set_contact(support.name, support.url, support.email)
    return loaded
