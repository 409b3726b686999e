"""The client of the service's JSON API under /api/v1 (docs/protocol.md)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rps_core.errors import ServiceError
from rps_core.log import get_logger
from rps_core.node.agent import protocol
from rps_core.node.agent.service import Service, ServiceAway, ServiceRefused
from rps_core.node.agent.words import quoted, without_addresses
from rps_core.protocol import EndCause
from rps_core.proxy_client.models import Issued, ServiceState
from rps_core.state.record import Endpoint, Tunnel

if TYPE_CHECKING:
    from rps_proxy.personal.find import OnCluster

log = get_logger(__name__)


class RpsClient:
    """A `Client` of the rps protocol.

    `own_key` is the issue key of the user's personal service, a secret; None for a site's service, and for a
    personal one `on_host`, another host. `on_cluster` is as in `own_endpoint`. `munge_socket` is the socket
    of the MUNGE daemon; None is the usual one.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timeout: float,
        own_key: str | None = None,
        *,
        on_cluster: OnCluster | None = None,
        on_host: str | None = None,
        munge_socket: str | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._timeout = timeout
        self._munge_socket = munge_socket
        self._own_key = own_key
        self._on_cluster = on_cluster
        self._on_host = on_host
        self._service = _service(endpoint, timeout)

    @property
    def tunnel(self) -> Tunnel | None:
        """How ssh reaches the service; None: browsers reach it directly."""
        if self._on_cluster is None:
            return None
        from rps_core.proxy_client.personal import tunnel_here

        return tunnel_here()

    def identify(self) -> str | None:
        """Return the service's name and version, as *health* gives it."""
        try:
            found = self._service.request(
                "GET", "/api/v1/health", protocol.HEALTH, None, self._own_key
            )
        except (ServiceAway, ServiceRefused):
            return None
        return f"rps {found['version']}"

    def issue(self, *, cluster: str, scheduler: str, user: str) -> Issued:
        """Ask for a new name; ask again for some seconds if refused as too fast."""
        body = {"cluster": cluster, "scheduler": scheduler, "user": user}
        form = protocol.issued(self.endpoint.host, "http" if self._on_cluster else "https")
        found = _asked_again(
            lambda: self._call("POST", "/api/v1/sessions", form, body, self._own_key)
        )
        return Issued(found["name"], found["host"], found["url"], found["claim"])

    def link(self, name: str, claim: str, job_id: str) -> None:
        """Report which job the session is."""
        body = {"job_id": job_id}
        self._call("POST", _path(name, "/link"), protocol.ACKNOWLEDGED, body, claim)

    def report_job(self, name: str, claim: str, report: dict[str, Any]) -> None:
        """Report the state of the session's job."""
        self._call("POST", _path(name, "/job"), protocol.ACKNOWLEDGED, report, claim)

    def revoke(self, name: str, claim: str, reason: str, cause: str = EndCause.ENDED) -> None:
        """Close the session's route; the agent ends the notebook with its next renewal."""
        body = {"reason": reason, "cause": cause}
        self._call("POST", _path(name, "/revoke"), protocol.ACKNOWLEDGED, body, claim)

    def state(self, name: str, claim: str) -> ServiceState:
        """Return the session's state. A name that the service has forgotten is `gone`."""
        try:
            found = self._call("GET", _path(name), protocol.STATE, None, claim)
        except ServiceError as error:
            if error.code == "unknown-name":
                return ServiceState("gone", False, "the service does not know the name any more")
            raise
        # The reason is the text of anyone who holds the claim.
        said = found["reason"] and quoted(without_addresses(found["reason"]))
        reason = f"the service says {said}" if said else None
        return ServiceState(found["phase"], found["live"], reason)

    def _call(
        self,
        method: str,
        path: str,
        form: protocol.Form,
        body: dict[str, Any] | None,
        claim: str | None = None,
    ) -> dict[str, Any]:
        try:
            try:
                return self._service.request(method, path, form, body, claim)
            except ServiceRefused as error:
                if error.code != "munge-required":
                    raise
                return self._service.request(method, path, form, body, claim, self._proof)
            except ServiceAway as error:
                if self._own_key is None or not isinstance(
                    error.__context__, ConnectionRefusedError
                ):
                    raise
                from rps_core.proxy_client.endpoint import own_endpoint

                self.endpoint, _ = own_endpoint(self._on_cluster)
                self._service = _service(self.endpoint, self._timeout)
                return self._service.request(method, path, form, body, claim)
        except ServiceAway as error:
            from rps_core.proxy_client.unanswered import unanswered

            raise unanswered(self.endpoint, error, on_host=self._on_host) from error
        except ServiceRefused as error:
            raise ServiceError(
                f"The service at {self.endpoint.host} rejected the call: {error}",
                _WHAT_TO_DO.get(error.code, ""),
                code=error.code,
            ) from None

    def _proof(self, content: bytes) -> str:
        from rps_core.proxy_client.munge import credential

        return credential(self.endpoint.host, content, self._munge_socket)


# Seconds. The users of a login node share one rate limit, so a launcher that asks again may get its part.
_PAUSES = (0.5, 0.8, 1.2, 1.6, 2.0)
_TOO_FAST = ("too-fast", "munge-busy")


def _asked_again(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Call, and call again while the service answers that this address asks too fast."""
    for pause in _PAUSES:
        try:
            return ask()
        except ServiceError as error:
            if error.code not in _TOO_FAST:
                raise
            log.info("call repeated", reason=error.message)
        # With jitter, so that the launchers of one script do not collide again.
        time.sleep(pause * (1 + os.urandom(1)[0] / 256))
    return ask()


# What the user can do about a refusal.
_WHAT_TO_DO = {
    "limit": "`rps list` shows what waits; `rps stop` ends one of them.",
    "outside-networks": "The service gives names to the cluster's login nodes: start it there. For "
    "`rps start --here` in a shell on a compute node its operator has to let these ask too "
    "(`networks.issue`).",
    "too-fast": "Try again in a minute.",
}


def _path(name: str, call: str = "") -> str:
    if not protocol.is_session_name(name):  # as a record has it, which may be an earlier version's
        raise ValueError("no session has this name")
    return f"/api/v1/sessions/{name}{call}"


def _service(to: Endpoint, timeout: float) -> Service:
    return Service(to.host, to.port, to.connect, to.ca_file, timeout, keep=True)
