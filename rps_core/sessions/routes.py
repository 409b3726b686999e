"""Choose the rules for a session's route: an rps service's or a satellite's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rps_core.jobs import Known, Unknown
from rps_core.proxy_client.models import ServiceState
from rps_core.state.record import Endpoint


class RouteRules(Protocol):
    """Rules for the routes of one kind of service."""

    @property
    def ended_by(self) -> str:
        """What ends the route if the service could not be asked to: `lease` or `job`."""

    @property
    def expected_refusals(self) -> frozenset[str]:
        """The codes with which the service always refuses to revoke a route that it has."""

    @property
    def lapsed(self) -> str:
        """The `Cause` of the state `lapsed`."""

    def judge(
        self,
        status: Known | Unknown,
        service: ServiceState | None,
        events: Sequence[Mapping[str, Any]],
        *,
        agent_alive: bool,
    ) -> tuple[str, str | None]:
        """Return state and reason of a session whose job is not known to be gone."""

    def what_is_left(self, events: Sequence[Mapping[str, Any]], *, revoked: bool) -> str:
        """Return the warning that an ended session's route may still exist."""

    def note(self, walltime: int) -> str | None:
        """Return a note for the user at a start; `walltime` in seconds."""


def rules_of(endpoint: Endpoint) -> RouteRules:
    """Return the rules for the routes of a service."""
    if endpoint.protocol == "satellite":
        from rps_core.sessions.satellite import SatelliteRoute

        return SatelliteRoute()
    from rps_core.sessions.states import LeasedRoute

    return LeasedRoute()
