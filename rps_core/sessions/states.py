"""Judge a living session's state by its job's status and the service's answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rps_core.jobs import JobPhase, Known, Unknown
from rps_core.protocol import Cause
from rps_core.proxy_client.models import ServiceState

PHASE_STATES = {
    JobPhase.PENDING: "pending",
    JobPhase.RUNNING: "starting",
    JobPhase.SUSPENDED: "suspended",
    JobPhase.COMPLETING: "ending",
}


class LeasedRoute:
    """`RouteRules` of a service that ends a route whose lease is not renewed."""

    ended_by = "lease"
    expected_refusals: frozenset[str] = frozenset()
    lapsed: str = Cause.LAPSED

    def judge(
        self,
        status: Known | Unknown,
        service: ServiceState | None,
        events: Sequence[Mapping[str, Any]],
        *,
        agent_alive: bool,
    ) -> tuple[str, str | None]:
        """Return state and reason. An unknown job state ends nothing."""
        del events  # a lease proves that the agent lives
        if service is not None and service.live:
            return "ready", None
        if not agent_alive or (service is not None and service.phase == "gone"):
            return "ending", service.reason if service else None
        if isinstance(status, Unknown):
            return "unknown", status.reason
        if service is not None and service.phase == "ready" and status.phase is JobPhase.RUNNING:
            return "lapsed", "the notebook's agent stopped renewing its route"
        if service is None and status.phase is JobPhase.RUNNING:
            return "unknown", "the job is running, but the service does not answer"
        return PHASE_STATES[status.phase], status.reason

    def what_is_left(self, events: Sequence[Mapping[str, Any]], *, revoked: bool) -> str:
        """Return an empty text: the lease ends the route in any case."""
        del events, revoked
        return ""

    def note(self, walltime: int) -> str | None:
        """Return None: there is nothing to add to the URL."""
        del walltime
        return None
