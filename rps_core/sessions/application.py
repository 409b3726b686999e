"""Hold a command's sessions and cluster, each found when first needed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rps_core.cluster import ClusterContext
    from rps_core.config.settings import Overrides
    from rps_core.state.store import Store


class Application:
    """One run of a command, with the values of --cluster and --set."""

    def __init__(self, cluster: str | None = None, assignments: Sequence[str] = ()) -> None:
        self.cluster = cluster
        self.assignments = assignments

    @cached_property
    def store(self) -> Store:
        """The user's sessions.

        Raises:
            UsageError: there is no home directory, or it is not the user's.
        """
        from rps_core.state.store import Store
        from rps_core.system import paths

        return Store(paths.sessions_dir())

    @cached_property
    def here(self) -> ClusterContext:
        """The cluster, for commands that show or end sessions: see `find`."""
        return self.find()

    def find(self, given: Overrides | None = None, *, inside: bool = True) -> ClusterContext:
        """Detect the cluster and load its configuration.

        Args:
            given: settings above the configuration; by default those of `--set`.
            inside: accept a host that cannot submit jobs, such as a compute node: enough to end sessions.

        Raises:
            DetectionError, UsageError: see `cluster.find`.
        """
        from rps_core import cluster
        from rps_core.config.settings import Overrides

        given = given or Overrides(assignments=self.assignments)
        return cluster.find(self.cluster, given, inside=inside)
