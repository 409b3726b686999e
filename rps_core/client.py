"""The launcher's calls of the Reverse Proxy Service (docs/protocol.md)."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rps_core.errors import ServiceError, UsageError
from rps_core.node.agent.service import NotTheService, Service, ServiceAway, ServiceRefused
from rps_core.record import Endpoint, Record

if TYPE_CHECKING:
    from rps_core.cluster import Here
    from rps_core.satellite import Satellite
    from rps_core.settings import Loaded

TIMEOUT_OUTSIDE = 10.0  # seconds, as `proxy.timeout` by default


@dataclass(frozen=True, slots=True)
class Issued:
    """A name of one's own, and the claim that proves it.

    At the older service `name` is ours alone, and what it calls the session, in `host`, is the `claim`.
    """

    name: str
    host: str
    url: str
    claim: str

    def __repr__(self) -> str:
        return f"Issued({self.name!r}, …)"


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What the service knows of a session; `live`: its route answers now."""

    phase: str
    live: bool
    reason: str | None


class Client:
    """One service. Every method raises `ServiceError` where it refuses or does not answer.

    `own_key` is the key of one's own service, a secret that *issue* shows; None for a site's service. One's
    own may have ended as idle since it was found: it is then started again, and may have moved, so
    that `endpoint` is to be read after the call. `detect`: *issue* finds out whether it is the older
    service, and `endpoint` then says so.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timeout: float,
        own_key: str | None = None,
        *,
        detect: bool = False,
        munge_socket: str | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._detect = detect
        self._munge_socket = munge_socket
        self._older = _older(endpoint, timeout) if endpoint.protocol == "satellite" else None
        self._own_key = own_key
        self._timeout = timeout
        self._service = _service(endpoint, timeout)

    def issue(self, *, cluster: str, scheduler: str, user: str) -> Issued:
        """A fresh name."""
        if self._older:
            return self._older.issue()
        body = {"cluster": cluster, "scheduler": scheduler, "user": user}
        try:
            found = self._call("POST", "/api/v1/sessions", body, self._own_key)
        except ServiceError as error:
            if not (self._detect and isinstance(error.__cause__, NotTheService)):
                raise
            # It did answer, and has proved that it is manage.<domain>: nobody in between said this.
            older = _older(self.endpoint, self._timeout)
            issued = older.issue_if_it_is_one(error.__cause__)
            if issued is None:
                raise
            self._older, self.endpoint = older, replace(self.endpoint, protocol="satellite")
            return issued
        return Issued(found["name"], found["host"], found["url"], found["claim"])

    def link(self, name: str, claim: str, job_id: str) -> None:
        """Tell which job the session is."""
        if self._older:
            self._older.link(claim, job_id)
        else:
            self._call("POST", f"/api/v1/sessions/{name}/link", {"job_id": job_id}, claim)

    def tell_job(self, name: str, claim: str, report: dict[str, Any]) -> None:
        """Tell how the session's job stands; not at the older service, which does not want to know."""
        if not self._older:
            self._call("POST", f"/api/v1/sessions/{name}/job", report, claim)

    def revoke(self, name: str, claim: str, reason: str, cause: str = "ended") -> None:
        """End the session's route; the agent ends the notebook when it hears of it. The `cause` is a word
        of docs/protocol.md."""
        if self._older:
            self._older.revoke(claim)
        else:
            body = {"reason": reason, "cause": cause}
            self._call("POST", f"/api/v1/sessions/{name}/revoke", body, claim)

    def state(self, name: str, claim: str) -> ServiceState:
        """Where the session stands. A name that the service has forgotten is `gone`."""
        if self._older:
            return self._older.state(claim)
        try:
            found = self._call("GET", f"/api/v1/sessions/{name}", None, claim)
        except ServiceError as error:
            if error.code == "unknown-name":
                return ServiceState("gone", False, "the service does not know the name any more")
            raise
        return ServiceState(found["phase"], bool(found["live"]), found.get("reason"))

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None, claim: str | None = None
    ) -> dict[str, Any]:
        try:
            try:
                return self._service.request(method, path, body, claim)
            except ServiceRefused as error:
                if error.code != "munge-required":
                    raise
                return self._service.request(method, path, body, claim, self._proof)
            except ServiceAway as error:
                if self._own_key is None or not isinstance(
                    error.__context__, ConnectionRefusedError
                ):
                    raise
                self.endpoint, _ = own_endpoint()
                self._service = _service(self.endpoint, self._timeout)
                return self._service.request(method, path, body, claim)
        except ServiceAway as error:
            if error.code:  # it did answer: it cannot now, and says why
                raise ServiceError(
                    f"The service at {self.endpoint.host} cannot do that now: {error.message}",
                    "Try again later; `rps list` shows the sessions you have.",
                    transient=True,
                    code=error.code,
                ) from None
            raise ServiceError(
                f"The service at {self.endpoint.host}:{self.endpoint.port} does not answer: {error}",
                "Try again in a minute; if it stays away, tell the cluster's support.",
                transient=True,
            ) from (error if isinstance(error, NotTheService) else None)
        except ServiceRefused as error:
            raise ServiceError(
                f"The service at {self.endpoint.host} refused: {error.message} ({error.code})",
                _WHAT_TO_DO.get(error.code, ""),
                code=error.code,
            ) from None

    def _proof(self, content: bytes) -> str:
        from rps_core.munge import credential

        return credential(self.endpoint.host, content, self._munge_socket)


# Where a refusal is the user's to do something about.
_WHAT_TO_DO = {
    "limit": "`rps list` shows what waits; `rps stop` ends one of them.",
    "outside-networks": "The service gives names to the cluster's login nodes: start it there. For "
    "`rps start --here` in a shell on a compute node its operator has to let these ask too "
    "(`networks.issue`).",
    "too-fast": "Try again in a minute.",
}


def _older(to: Endpoint, timeout: float) -> Satellite:
    from rps_core.satellite import Satellite

    return Satellite(to, timeout)


def _service(to: Endpoint, timeout: float) -> Service:
    return Service(to.host, to.port, to.connect, to.ca_file, timeout, keep=True)


def configured_client(loaded: Loaded) -> Client:
    """The client for the service that the configuration names; raises as `configured_endpoint`."""
    proxy = loaded.settings.proxy
    if proxy.own:
        endpoint, key = own_endpoint()
        return Client(endpoint, proxy.timeout, key)
    return Client(
        configured_endpoint(loaded),
        proxy.timeout,
        detect=proxy.protocol == "auto",
        munge_socket=proxy.munge_socket,
    )


def configured_endpoint(loaded: Loaded) -> Endpoint:
    """The service of a site, which the configuration names.

    Raises:
        UsageError: no domain is configured, or the CA's file is not there.
        ServiceError: one's own service cannot be started.
    """
    proxy = loaded.settings.proxy
    if not proxy.domain:
        raise UsageError(
            "No Reverse Proxy Service is configured: `proxy.domain` is empty",
            "Set it in ~/.config/rps/config.yaml, or ask the cluster's support for it.",
        )
    if proxy.ca_file and not Path(proxy.ca_file).is_file():
        raise UsageError(
            f"{loaded.where('proxy.ca_file')}: there is no file {proxy.ca_file}",
            "`proxy.ca_file` names the PEM file with the CA of the service's certificate.",
        )
    local = proxy.domain == "localhost" or proxy.domain.endswith(".localhost")
    return Endpoint(
        host=f"manage.{proxy.domain}",
        port=proxy.port,
        connect="127.0.0.1" if local else None,
        ca_file=proxy.ca_file,
        protocol="rps" if proxy.protocol == "auto" else proxy.protocol,
    )


def own_endpoint() -> tuple[Endpoint, str]:
    """The user's own service on this machine, running, and the key with which it issues names."""
    from rps_proxy.local import find_or_start

    found = find_or_start()
    endpoint = Endpoint(
        host=f"manage.{found.domain}",
        port=found.port,
        connect="127.0.0.1",
        ca_file=str(found.ca_file),
    )
    return endpoint, found.issue_key


def client_of(record: Record, here: Here | None) -> Client:
    """The client for a session's service, which is brought back first if it is one's own.

    Sessions of one service share a client: reading the store of CAs is most of a call's cost. Outside of
    any cluster (`here`) there is no configuration to say how long the service may take.
    """
    timeout = here.loaded.settings.proxy.timeout if here else TIMEOUT_OUTSIDE
    if record.own_service and record.ended is None:
        return _own_client(timeout)
    return _client(record.endpoint, timeout)


@functools.cache
def _own_client(timeout: float) -> Client:
    endpoint, key = own_endpoint()  # not the record's: it may have moved since
    return Client(endpoint, timeout, key)


@functools.cache
def _client(endpoint: Endpoint, timeout: float) -> Client:
    return Client(endpoint, timeout)
