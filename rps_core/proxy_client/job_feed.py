"""The feed's clients: by the admin socket on the same host, or by the API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rps_core.errors import ServiceError
from rps_core.node.agent.protocol import LONGEST_FEED, NOTED, Malformed, jobs, read_object
from rps_core.node.agent.service import Service, ServiceAway, ServiceRefused
from rps_proxy.private_files import read_key

if TYPE_CHECKING:
    from rps_core.state.record import Endpoint
    from rps_proxy.settings.model import Settings

TIMEOUT = 30.0  # seconds that the service may take

# Given a report, sends it; given None, asks for the cluster's unfinished jobs. Returns the answer's fields.
Feed = Callable[[dict[str, Any] | None], dict[str, Any]]


def over_the_socket(cluster: str, settings: Settings) -> Feed:
    """Return the way to the service on this host.

    Raises (as it is used):
        ServiceError: none is running, or it is another account's.
    """
    from rps_proxy.cli.admin_client import ask

    def feed(report: dict[str, Any] | None) -> dict[str, Any]:
        body: dict[str, Any] = {"cluster": cluster, **(report or {})}
        answer = ask(
            settings, "POST", "/unfinished-jobs" if report is None else "/job-states", body
        )
        if answer is None:
            raise ServiceError(
                "No service is running on this host",
                "If it runs on another host, use --key-file (docs/operators.md).",
            )
        try:
            found = read_object(answer.encode())
            return jobs(found) if report is None else NOTED(found)
        except Malformed as error:
            raise ServiceError(f"The service's answer is malformed: {error}", "") from None

    return feed


def over_the_api(cluster: str, to: Endpoint, key_file: Path) -> Feed:
    """Return the way to the service that the cluster's sessions use.

    Raises:
        ServiceError: the file holds no key; as it is used: the service does not answer, or refuses.
    """
    key = read_key(key_file, "the feed").decode("ascii", "replace")
    service = Service(
        to.host, to.port, to.connect, to.ca_file, TIMEOUT, keep=True, longest=LONGEST_FEED
    )
    path = f"/api/v1/clusters/{quote(cluster, safe='')}/jobs"

    def feed(report: dict[str, Any] | None) -> dict[str, Any]:
        try:
            if report is None:
                return service.request("GET", path, jobs, None, key)
            return service.request("POST", path, NOTED, report, key)
        except ServiceAway as error:
            raise ServiceError(
                f"The service at {to.host}:{to.port} does not answer: {error}",
                "The next run of the feed reports the jobs.",
                transient=True,
            ) from None
        except ServiceRefused as error:
            raise ServiceError(
                f"The service at {to.host}:{to.port} rejected the report: {error}",
                "Check the addresses and the key of `feed` in its configuration.",
                code=error.code,
            ) from None

    return feed
