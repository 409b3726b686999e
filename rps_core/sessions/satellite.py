"""Judge a session at a satellite, whose routes have no lease (docs/protocol.md)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from rps_core.jobs import JobPhase, Known, Unknown
from rps_core.protocol import Cause
from rps_core.proxy_client.models import ServiceState
from rps_core.sessions.states import PHASE_STATES
from rps_core.units import format_walltime

ROUTE_HOURS = 49  # a route's life at a satellite, whether the job runs or not
_LATE = 180.0  # seconds after the redeeming from which on the route is overdue


class SatelliteRoute:
    """`RouteRules` of a satellite: only the job's node ends a route before 49 hours."""

    ended_by = "job"
    expected_refusals = frozenset({"wrong-address"})
    lapsed: str = Cause.ROUTE_GONE

    def judge(
        self,
        status: Known | Unknown,
        service: ServiceState | None,
        events: Sequence[Mapping[str, Any]],
        *,
        agent_alive: bool,
    ) -> tuple[str, str | None]:
        """Return state and reason.

        A route without a lease proves nothing: `ready` needs the route, a running job, and the agent's
        events that it redeemed the name, and that the service could connect to the notebook.
        """
        if not agent_alive:
            return "ending", None
        if isinstance(status, Unknown):
            return "unknown", status.reason
        phase = None if service is None else service.phase
        redeemed = next((e["time"] for e in events if e.get("event") == "redeemed"), None)
        stolen = redeemed is None and phase in ("mapping", "ready")
        # An agent that has redeemed has run: the scheduler's "pending" is older.
        runs = status.phase is JobPhase.RUNNING or (
            status.phase is JobPhase.PENDING and redeemed is not None
        )
        if not runs:
            state, reason = PHASE_STATES[status.phase], status.reason
            if status.phase is JobPhase.PENDING and phase == "gone":
                reason = "the service has forgotten its name: stop it, and start another"
            elif status.phase is JobPhase.PENDING and stolen:
                reason = "its name was redeemed, and not by its job: do not open its URL; stop it"
            return state, reason
        if phase is None:
            return "unknown", "the job is running, but the service does not answer"
        if phase == "gone":
            if redeemed is not None and time.time() - redeemed > (ROUTE_HOURS - 1) * 3600:
                return "lapsed", f"the service ends every route after {ROUTE_HOURS} hours"
            seen = {event.get("event") for event in events}
            # Until the route is live the agent asks for its name, and ends without it; then no longer.
            state = "lapsed" if "ready" in seen and "destroying" not in seen else "ending"
            return state, "the service does not know its name any more"
        if stolen:
            return "starting", "its name is redeemed, but its job has not said that it was the one"
        if phase == "ready" and any(event.get("event") == "ready" for event in events):
            return "ready", None
        if phase == "ready":
            return "starting", "the route exists; the node checks that its URL answers"
        if redeemed is None:
            return "starting", status.reason
        if time.time() - redeemed > _LATE:
            return "starting", "the notebook is up, and the service is late in making it reachable"
        return "starting", "the notebook is up; the service makes it reachable within two minutes"

    def what_is_left(self, events: Sequence[Mapping[str, Any]], *, revoked: bool) -> str:
        """Return the warning that the route may still exist; empty where it does not."""
        seen = {event.get("event") for event in events}
        if "route-left" not in seen and (revoked or "redeemed" not in seen):
            return ""
        return f"; the service may keep its route for up to {ROUTE_HOURS} hours: do not open its URL again"

    def note(self, walltime: int) -> str | None:
        """Return that the URL answers late, and ends before the job does where that is so."""
        text = "The URL answers up to two minutes after the notebook is up: the service is a satellite."
        if walltime > ROUTE_HOURS * 3600:
            asked = format_walltime(timedelta(seconds=walltime))
            text += (
                f"\nIt ends every route after {ROUTE_HOURS} hours, and the job may run for {asked}."
            )
        return text
