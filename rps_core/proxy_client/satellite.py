"""The client of a satellite, the deployed service that rps succeeds.

A satellite knows no claims: anyone in the cluster's network who learns a session's name before its job has
started can redeem that name. So the name at the satellite is kept secret, in claim.json in place of a claim,
and job names, paths and comments show another name.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from rps_core.errors import ServiceError
from rps_core.node.agent import satellite as calls
from rps_core.node.agent.service import NotTheService, ServiceAway, ServiceRefused
from rps_core.node.agent.words import quoted
from rps_core.protocol import EndCause
from rps_core.proxy_client.models import Issued, ServiceState
from rps_core.state.record import Endpoint

if TYPE_CHECKING:
    from rps_core.proxy_client.client import Client

_PHASES = {"U": "issued", "PE": "issued", "Q": "linked", "R": "linked", "D": "linked",
           "M": "mapping", "PR": "ready", "": "gone"}  # fmt: skip

_NO_NAME = "rps-doctor-asks"  # the satellite's names are three words of its list
Answer = TypeVar("Answer")


class SatelliteClient:
    """A `Client` of a satellite; `claim` is everywhere the session's name there."""

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        self.endpoint = endpoint
        self._service = calls.Satellite(
            endpoint.host, endpoint.port, endpoint.connect, endpoint.ca_file, timeout
        )

    @property
    def tunnel(self) -> None:
        """Browsers reach it directly."""

    def identify(self) -> str | None:
        """Return that it is a satellite: it answers for an unused name.

        `tokenjobstate.cgi` answers any host. `linktoken.cgi` checks the caller's address before it looks for
        the name, which does not exist.

        Raises:
            ServiceError: it refuses this host.
        """
        try:
            self._service.state(_NO_NAME)
            self._service.link(_NO_NAME, "1")
        except ServiceAway:
            return None
        except ServiceRefused as refused:
            if refused.code == "outside-networks":
                raise self._rejected(refused) from None
        return "satellite; its limits: docs/sessions.md"

    def issue(self, **_who: str) -> Issued:
        """Ask for a new name; a satellite does not record the user.

        Raises:
            ServiceError: the satellite gave no name, or one that no host name can hold.
        """
        name = self._asked(self._service.issue)
        host = f"{name}.{self.endpoint.host.removeprefix('manage.')}"
        port = "" if self.endpoint.port == 443 else f":{self.endpoint.port}"
        return Issued(f"notebook-{secrets.token_hex(4)}", host, f"https://{host}{port}/", name)

    def link(self, _name: str, claim: str, job_id: str) -> None:
        """Report which job the session is."""
        self._asked(lambda: self._service.link(claim, job_id))

    def report_job(self, _name: str, _claim: str, _report: dict[str, Any]) -> None:
        """Do nothing: a satellite has no waiting page."""

    def revoke(self, _name: str, claim: str, _reason: str, _cause: str = EndCause.ENDED) -> None:
        """Destroy the name.

        Once it is redeemed, the satellite accepts this only from the job's node.
        """
        self._asked(lambda: self._service.destroy(claim))

    def state(self, _name: str, claim: str) -> ServiceState:
        """Return the session's state.

        `live` is always False: the satellite does not check the notebook.
        """
        state = self._asked(lambda: self._service.state(claim))
        return ServiceState(_PHASES[state], False, None)

    def _asked(self, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except ServiceRefused as refused:
            raise self._rejected(refused) from None
        except ServiceAway as away:
            from rps_core.proxy_client.unanswered import unanswered

            raise unanswered(self.endpoint, away, " as a satellite does") from away

    def _rejected(self, refused: ServiceRefused) -> ServiceError:
        return ServiceError(
            f"The service at {self.endpoint.host} rejected the call: {quoted(refused.message)}",
            refused.advice or "Inform the cluster's support.",
            code=refused.code,
        )


def detect(
    client: Client, timeout: float, answer: NotTheService
) -> tuple[SatelliteClient, Issued] | None:
    """Ask for a name by the satellite's calls, if `answer` can be a satellite's.

    `answer` is to the rps call. Return None if it cannot be.

    Raises:
        ServiceError: it refuses, does not answer, or is no satellite either.
    """
    no_such_page = answer.status in (404, 405)
    its_index = answer.status == 200 and answer.text.startswith(
        ("Please see documentation", "Oops!")
    )
    if not (no_such_page or its_index):
        return None
    satellite = SatelliteClient(replace(client.endpoint, protocol="satellite"), timeout)
    try:
        return satellite, satellite.issue()
    except ServiceError as error:
        other = error.__cause__
        if not isinstance(other, NotTheService):
            raise
        endpoint = client.endpoint
        raise ServiceError(
            f"{endpoint.host}:{endpoint.port} is not the service: it answers a call of rps with status "
            f"{answer.status}, and getlink.cgi, a satellite's call, with status {other.status}",
            "Check `proxy.domain` and `proxy.port`. If they are right, inform the cluster's support: another "
            "web server or a proxy answers under this name.",
        ) from None
