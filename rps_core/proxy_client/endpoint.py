"""The endpoint of the configured service, or of the user's personal service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.errors import UsageError
from rps_core.node.agent.protocol import is_host
from rps_core.state.record import Endpoint

if TYPE_CHECKING:
    from rps_core.config.settings import LoadedSettings
    from rps_proxy.personal.find import OnCluster


def configured_endpoint(loaded: LoadedSettings) -> Endpoint:
    """Return the endpoint of the site's service, as the configuration gives it.

    Raises:
        UsageError: no domain is configured, the domain is malformed, or the CA's file does not exist.
    """
    proxy = loaded.settings.proxy
    if not proxy.domain:
        raise UsageError(
            "No Reverse Proxy Service is configured: `proxy.domain` is empty",
            "Set it in ~/.config/rps/config.yaml, or ask the cluster's support for it.",
        )
    if proxy.ca_file and not Path(proxy.ca_file).is_file():
        raise UsageError(
            f"{loaded.where('proxy.ca_file')}: file not found: {proxy.ca_file}",
            "Set `proxy.ca_file` to a PEM file with the CA of the service's certificate.",
        )
    domain = proxy.domain.lower().rstrip(".")
    host = f"manage.{domain}"
    if not is_host(host):
        raise UsageError(
            f"{loaded.where('proxy.domain')}: {proxy.domain!r} is not a domain name",
            "Set `proxy.domain` to the domain of the sessions' host names, such as rps.example.org.",
        )
    local = domain == "localhost" or domain.endswith(".localhost")
    return Endpoint(
        host=host,
        port=proxy.port,
        connect="127.0.0.1" if local else None,
        ca_file=proxy.ca_file,
        protocol="rps" if proxy.protocol == "auto" else proxy.protocol,
    )


def own_endpoint(on_cluster: OnCluster | None = None) -> tuple[Endpoint, str]:
    """Return the endpoint and issue key of the user's personal service.

    Starts the service if it is down. `on_cluster` is as in `find_or_start`.

    Raises:
        ServiceError: it does not start.
    """
    from rps_proxy.personal.find import find_or_start

    found = find_or_start(on_cluster)
    if on_cluster is not None and found.was_killed:
        from rps_core.log import notice
        from rps_core.proxy_client.personal import killed_notice

        notice(killed_notice())
    if on_cluster is not None and on_cluster.carried and (found.taken_over or not found.carried):
        from rps_core.log import notice
        from rps_core.proxy_client.personal import place_notice

        notice(place_notice(found))
    endpoint = Endpoint(
        host=f"manage.{found.domain}",
        port=found.port,
        connect=found.address,
        ca_file=str(found.ca_file),
    )
    return endpoint, found.issue_key
