"""Explain why a call of the service has no answer."""

from __future__ import annotations

from rps_core.errors import ServiceError
from rps_core.node.agent.service import ServiceAway
from rps_core.node.agent.words import quoted
from rps_core.proxy_client.personal import is_personal, start_advice
from rps_core.proxy_client.tls_failure import tls_failure
from rps_core.state.record import Endpoint


def unanswered(
    endpoint: Endpoint, away: ServiceAway, how: str = "", on_host: str | None = None
) -> ServiceError:
    """Return the error for the user.

    Args:
        endpoint: the service.
        away: the error of its client, as caught: its context is the error of the connection.
        how: completes "does not answer".
        on_host: the login node on which this personal service runs, if that is another host.
    """
    if away.code:  # it did answer: it cannot now, and says why
        return ServiceError(
            f"The service at {endpoint.host} is unavailable: {quoted(away.message)}",
            "Try again later; `rps list` shows the sessions you have.",
            transient=True,
            code=away.code,
        )
    if on_host is not None:
        return ServiceError(
            f"Your personal service on {on_host} does not answer{how}: {away.reason}",
            f"Only there can it be started: log in on that host (`ssh {on_host}`), and run `rps list`. Your "
            "sessions continue.",
            transient=True,
        )
    place = f"The service at {endpoint.host}:{endpoint.port}"
    if failure := tls_failure(endpoint, away.__context__):
        return ServiceError(f"{place} was not called: {failure.text}", failure.advice)
    advice = "Try again in a minute; if it still does not answer, inform the cluster's support."
    if is_personal(endpoint):
        advice = start_advice(endpoint)
    return ServiceError(f"{place} does not answer{how}: {away.reason}", advice, transient=True)
