"""The launcher at the older service: the deployed one, with CGI calls, which rps succeeds (docs/protocol.md).

It knows no claim. Whoever in the cluster's network learns a session's name before its job has started can
redeem that name, so here the name is what is kept secret: it lies in claim.json in the claim's place, and
the session is called something else wherever others look (job names, paths, comments).
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from rps_core import sessions
from rps_core.client import Issued, ServiceState
from rps_core.errors import ServiceError
from rps_core.models import JobPhase, Known, Unknown
from rps_core.node.agent import satellite as calls
from rps_core.node.agent.service import NotTheService, ServiceAway, ServiceRefused
from rps_core.quantities import format_walltime
from rps_core.record import Endpoint

ROUTE_HOURS = 49  # a route's life at the older service, whatever becomes of the job
_LATE = 180.0  # seconds after the redeeming from which on the route is overdue
# Words and hyphens (the word list has `drop-down`), one label of a host name.
_NAME = re.compile(r"(?=.{5,63}\Z)[a-z0-9]+(?:-[a-z0-9]+){2,5}", re.ASCII)
_PHASES = {"U": "issued", "PE": "issued", "Q": "linked", "R": "linked", "D": "linked",
           "M": "mapping", "PR": "ready", "": "gone"}  # fmt: skip

Answer = TypeVar("Answer")


class Satellite:
    """The calls of `client.Client`, for a service of the older kind; `name` is a session's name there."""

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        self._endpoint = endpoint
        self._service = calls.Satellite(
            endpoint.host, endpoint.port, endpoint.connect, endpoint.ca_file, timeout
        )

    def issue(self) -> Issued:
        """A fresh name.

        Raises:
            ServiceError: none was given, or none that can stand in a host name.
        """
        words = self._asked(self._service.issue).split()
        name = words[-1].lower()
        if not _NAME.fullmatch(name):
            raise ServiceError(
                f"The service at {self._endpoint.host} gave a name that cannot be one",
                "Tell the cluster's support; `proxy.domain` may name another machine.",
            )
        host = f"{name}.{self._endpoint.host.removeprefix('manage.')}"
        port = "" if self._endpoint.port == 443 else f":{self._endpoint.port}"
        return Issued(f"notebook-{secrets.token_hex(4)}", host, f"https://{host}{port}/", name)

    def issue_if_it_is_one(self, said: NotTheService) -> Issued | None:
        """A fresh name, where `said` (the answer to a call of the rps API) could be the older service's,
        and what it answers to the older call is. None: it is neither.

        Raises:
            ServiceError: it is the older service, and refuses.
        """
        no_such_page = said.status in (404, 405)
        its_index = said.status == 200 and said.text.startswith(
            ("Please see documentation", "Oops!")
        )
        if not (no_such_page or its_index):
            return None
        try:
            return self.issue()
        except ServiceError as error:
            if isinstance(error.__cause__, NotTheService):
                return None
            raise

    def link(self, name: str, job_id: str) -> None:
        """Tell which job the session is."""
        self._asked(lambda: self._service.link(name, job_id))

    def revoke(self, name: str) -> None:
        """Destroy the name. Once it is redeemed the service lets the job's node alone do that."""
        self._asked(lambda: self._service.destroy(name))

    def state(self, name: str) -> ServiceState:
        """Where the session stands. `live` is never claimed: a route says nothing of what is behind it."""
        state = self._asked(lambda: self._service.state(name))
        return ServiceState(_PHASES[state], False, None)

    def _asked(self, call: Callable[[], Answer]) -> Answer:
        host = self._endpoint.host
        try:
            return call()
        except ServiceRefused as refused:
            raise ServiceError(
                f"The service at {host} refused: {refused.message}",
                refused.advice or "Tell the cluster's support.",
                code=refused.code,
            ) from None
        except ServiceAway as away:
            raise ServiceError(
                f"The service at {host}:{self._endpoint.port} does not answer as the older service does: "
                f"{away.reason}",
                "Try again in a minute; if it stays away, tell the cluster's support.",
                transient=True,
            ) from (away if isinstance(away, NotTheService) else None)


def judge(
    status: Known | Unknown,
    service: ServiceState | None,
    events: Sequence[Mapping[str, Any]],
    *,
    agent_alive: bool,
) -> tuple[str, str | None]:
    """As `sessions.judge`. The service has no lease, so a route proves nothing: `ready` takes the route, a
    job that runs, and in `events` the agent's word that it was the one who redeemed the name."""
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
        state, reason = sessions.PHASE_STATES[status.phase], status.reason
        if status.phase is JobPhase.PENDING and phase == "gone":
            reason = "the service has forgotten its name: stop it, and start another"
        elif status.phase is JobPhase.PENDING and stolen:
            reason = "its name was redeemed, and not by its job: do not open its URL; stop it"
        return state, reason
    if phase is None:
        return "unknown", "the job runs, and the service does not answer"
    if phase == "gone":
        if redeemed is not None and time.time() - redeemed > (ROUTE_HOURS - 1) * 3600:
            return "lapsed", f"the service ends every route after {ROUTE_HOURS} hours"
        return "ending", "the service does not know its name any more"
    if stolen:
        return "starting", "its name is redeemed, but its job has not said that it was the one"
    if phase == "ready":
        return "ready", None
    if redeemed is None:
        return "starting", status.reason
    if time.time() - redeemed > _LATE:
        return "starting", "the notebook is up, and the service is late in making it reachable"
    return "starting", "the notebook is up; the service makes it reachable within two minutes"


def what_is_left(events: Sequence[Mapping[str, Any]], *, revoked: bool) -> str:
    """Behind the reason of a session that is over: whether its route may be there still."""
    seen = {event.get("event") for event in events}
    if "route-left" not in seen and (revoked or "redeemed" not in seen):
        return ""
    return (
        f"; the service may keep its route for up to {ROUTE_HOURS} hours: do not open its URL again"
    )


def note(walltime: int) -> str:
    """What a user has to know of a session that was just started; `walltime` in seconds."""
    text = "The URL answers up to two minutes after the notebook is up: the service is of the older kind."
    if walltime > ROUTE_HOURS * 3600:
        asked = format_walltime(timedelta(seconds=walltime))
        text += f"\nIt ends every route after {ROUTE_HOURS} hours, and the job may run for {asked}."
    return text
