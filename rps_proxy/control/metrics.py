"""The service's metrics: their names, help texts and labels.

No label holds a session's name, a user or an address. Clusters' names come from launchers: those with the
most sessions have a label of their own, if it has the form of a name.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate

from rps_proxy.registry.session import Phase

EVENTS = ("issue", "link", "redeem", "renew", "lapse", "back", "revoke", "drain", "foreign-job")
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)  # seconds

MOST_CLUSTERS = 20
_CLUSTER = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")

HELP = {
    "rps_sessions": "Sessions in the registry, by phase and cluster.",
    "rps_routes": "Routes of the sessions with a lease.",
    "rps_engine_in_step": "Whether the engine had all routes when last asked.",
    "rps_ready": "Whether each readiness check passes.",
    "rps_open_websockets": "Open websockets in the engine.",
    "rps_bytes_total": "Bytes from clients (in) and to them (out), since the engine started.",
    "rps_draining": "Whether the service issues no new names.",
    "rps_waiting_pages": "Open waiting pages that the service notifies.",
    "rps_job_reports_total": "Reports of job states, by sender and state.",
    "rps_start_time_seconds": "Start of the service, in seconds since 1970.",
    "rps_certificate_expires_seconds": "Expiry of the front certificate, in seconds since 1970.",
    "rps_events_total": "Changes of sessions since the service started, by kind.",
    "rps_refused_total": "Refused calls, by the code of docs/protocol.md.",
    "rps_without_claim_total": "Calls of the satellite's clients, which have no claim.",
    "rps_worker_ends_total": "Workers of the embedded engine that ended and were replaced.",
    "rps_audit_dropped_total": "Lines that are missing from the audit log.",
    "rps_redeem_to_reachable_seconds": "From a redeem call until the engine has the route.",
}


class Durations:
    """A histogram of durations in seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Add one duration."""
        self._counts[bisect_left(_BOUNDS, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Return each bucket's upper bound and the number of durations up to it."""
        bounds = (*map(str, _BOUNDS), "+Inf")
        return [*zip(bounds, accumulate(map(float, self._counts)), strict=True)]


def sessions_by_cluster(
    found: Iterable[tuple[str | None, str, int]],
) -> list[tuple[dict[str, str], float]]:
    """Count by phase and cluster; the smaller clusters are summed up as `other`."""
    numbers: Counter[tuple[str, str]] = Counter()
    of_cluster: Counter[str] = Counter()
    for given, phase, number in found:
        cluster = (given or "").lower()
        cluster = cluster if _CLUSTER.fullmatch(cluster) else "other" if cluster else "none"
        numbers[cluster, phase] += number
        of_cluster[cluster] += number
    largest = sorted(of_cluster, key=lambda cluster: (-of_cluster[cluster], cluster))
    shown = set(largest[:MOST_CLUSTERS])
    summed: Counter[tuple[str, str]] = Counter()
    for (cluster, phase), number in numbers.items():
        summed[cluster if cluster in shown else "other", phase] += number
    clusters = sorted({cluster for cluster, _ in summed}) or ["none"]
    # Every phase: a series that begins with its first event shows no increase in Prometheus.
    return [
        ({"phase": phase.name.lower(), "cluster": cluster}, summed[cluster, phase.name.lower()])
        for cluster in clusters
        for phase in Phase
    ]
