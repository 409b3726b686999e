"""Select the client for a Reverse Proxy Service, by the protocol that it speaks."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from rps_core.errors import ServiceError
from rps_core.protocol import EndCause
from rps_core.proxy_client.models import Issued, ServiceState
from rps_core.state.record import Endpoint, SessionRecord, Tunnel

if TYPE_CHECKING:
    from rps_core.cluster import ClusterContext
    from rps_proxy.personal.find import OnCluster

TIMEOUT_OUTSIDE = 10.0  # seconds, as `proxy.timeout` by default


class Client(Protocol):
    """The calls of one service.

    Each raises `ServiceError` if the service refuses or does not answer. A personal service exits when idle
    and may restart on another port: read `endpoint` after each call.
    """

    @property
    def endpoint(self) -> Endpoint:
        """How to reach it."""

    @property
    def tunnel(self) -> Tunnel | None:
        """How ssh reaches it; None: browsers reach it directly."""

    def identify(self) -> str | None:
        """Return the service's name for itself; None: it speaks another protocol.

        Changes nothing there, and needs no secret.

        Raises:
            ServiceError: it speaks this protocol, and refuses this host.
        """

    def issue(self, *, cluster: str, scheduler: str, user: str) -> Issued:
        """Ask for a new name."""

    def link(self, name: str, claim: str, job_id: str, /) -> None:
        """Report which job the session is."""

    def report_job(self, name: str, claim: str, report: dict[str, Any], /) -> None:
        """Report the state of the session's job, for its waiting page (docs/protocol.md)."""

    def revoke(self, name: str, claim: str, reason: str, cause: str = EndCause.ENDED, /) -> None:
        """Close the session's route; `cause` is a word of docs/protocol.md."""

    def state(self, name: str, claim: str, /) -> ServiceState:
        """Return the session's state. A name that the service has forgotten is `gone`."""


def client_at(endpoint: Endpoint, timeout: float, munge_socket: str | None = None) -> Client:
    """Return the client for a service; each call may take `timeout` seconds."""
    if endpoint.protocol == "satellite":
        from rps_core.proxy_client.satellite import SatelliteClient

        return SatelliteClient(endpoint, timeout)
    from rps_core.proxy_client.rps import RpsClient

    return RpsClient(endpoint, timeout, munge_socket=munge_socket)


def possible_clients(endpoint: Endpoint, protocol: str, timeout: float) -> list[Client]:
    """Return a client for each protocol that `proxy.protocol` allows."""
    spoken = ("rps", "satellite") if protocol == "auto" else (protocol,)
    return [client_at(replace(endpoint, protocol=each), timeout) for each in spoken]


def configured_client(here: ClusterContext) -> Client:
    """Return the client for the configured service, or for the user's personal one.

    Raises:
        UsageError, ServiceError: see `configured_endpoint` and `own_endpoint`.
    """
    from rps_core.proxy_client.endpoint import configured_endpoint

    proxy = here.loaded.settings.proxy
    if proxy.personal:
        from rps_core.proxy_client.personal import for_new_session

        return _started(proxy.timeout, for_new_session(here))
    return client_at(configured_endpoint(here.loaded), proxy.timeout, proxy.munge_socket)


def _started(timeout: float, on_cluster: OnCluster | None) -> Client:
    """Return the client for the personal service, which is started if it is down."""
    from rps_core.proxy_client.endpoint import own_endpoint
    from rps_core.proxy_client.rps import RpsClient

    endpoint, key = own_endpoint(on_cluster)
    return RpsClient(endpoint, timeout, key, on_cluster=on_cluster)


def issue_name(here: ClusterContext, *, user: str) -> tuple[Client, Issued]:
    """Ask the cluster's service for a name; return it with the service's client.

    Raises:
        UsageError, ServiceError: see `configured_client` and `Client.issue`.
    """
    client = configured_client(here)
    proxy = here.loaded.settings.proxy
    cluster, scheduler = here.site.cluster.name, here.site.cluster.scheduler
    if proxy.protocol == "auto" and not proxy.personal:
        return issue_or_detect(
            client, proxy.timeout, cluster=cluster, scheduler=scheduler, user=user
        )
    return client, client.issue(cluster=cluster, scheduler=scheduler, user=user)


def issue_or_detect(
    client: Client, timeout: float, *, cluster: str, scheduler: str, user: str
) -> tuple[Client, Issued]:
    """Ask for a name, by the satellite's calls if the answer can be a satellite's.

    For `proxy.protocol: auto`. A satellite is remembered for a day, and called as one first. If it then
    refuses or answers as another server, it is asked as a service of rps again.

    Raises:
        ServiceError: as `Client.issue`.
    """
    from rps_core.node.agent.service import NotTheService
    from rps_core.proxy_client import remembered

    if remembered.is_satellite(client.endpoint):
        satellite = client_at(replace(client.endpoint, protocol="satellite"), timeout)
        try:
            return satellite, satellite.issue(cluster=cluster, scheduler=scheduler, user=user)
        except ServiceError as error:
            if error.__cause__ is not None and not isinstance(error.__cause__, NotTheService):
                raise  # not answered
            remembered.forget(client.endpoint)
    try:
        return client, client.issue(cluster=cluster, scheduler=scheduler, user=user)
    except ServiceError as error:
        # That answer came over verified TLS: manage.<domain> itself gave it.
        if not isinstance(error.__cause__, NotTheService):
            raise
        from rps_core.proxy_client.satellite import detect

        found = detect(client, timeout, error.__cause__)
        if found is None:
            raise
        remembered.remember(client.endpoint)
        return found


def client_of(record: SessionRecord, here: ClusterContext | None) -> Client:
    """Return the client for a session's service.

    A personal service of this host that is down is started first. Sessions of one service share a client:
    reading the store of CAs is most of a call's cost. Outside of any cluster (`here`) there is no configured
    timeout.
    """
    timeout = here.loaded.settings.proxy.timeout if here else TIMEOUT_OUTSIDE
    if record.own_service and record.ended is None:
        if record.tunnel is None:
            return _own_client(timeout, None)
        from rps_core.proxy_client.personal import is_on_this_host

        if is_on_this_host(record):
            return _own_client(timeout, record.endpoint.connect)
        return _client(record.endpoint, timeout, record.tunnel.host)
    return _client(record.endpoint, timeout)


@functools.cache
def _own_client(timeout: float, address: str | None) -> Client:
    # Not at the record's endpoint: it may have moved since.
    if address is None:
        return _started(timeout, None)
    from rps_core.proxy_client.personal import for_known_session

    return _started(timeout, for_known_session(address))


@functools.cache
def _client(endpoint: Endpoint, timeout: float, on_host: str | None = None) -> Client:
    if on_host is not None:
        from rps_core.proxy_client.rps import RpsClient

        return RpsClient(endpoint, timeout, on_host=on_host)
    return client_at(endpoint, timeout)
