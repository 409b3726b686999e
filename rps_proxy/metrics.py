"""What Prometheus reads, in its text format 0.0.4 (prometheus.io, "Exposition formats").

No label holds a session's name, a user or an address. A cluster's name is what launchers say: of these the
first few are told apart, and only such as look like one.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rps_proxy.session import Phase

if TYPE_CHECKING:
    from rps_proxy.engines import Traffic
    from rps_proxy.service import Service

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
EVENTS = ("issue", "link", "redeem", "renew", "lapse", "back", "revoke", "drain", "foreign-job")
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)  # seconds

MOST_CLUSTERS = 20
_CLUSTER = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")

HELP = {
    "rps_sessions": "Sessions in the registry, by phase and cluster.",
    "rps_routes": "Routes that there are to be.",
    "rps_engine_in_step": "Whether the engine had all routes when last asked.",
    "rps_ready": "Whether each of what the service needs is as it must be.",
    "rps_open_websockets": "Websockets that the engine carries now.",
    "rps_bytes_total": "What the engine got from clients and sent to them, since it started.",
    "rps_draining": "Whether no new names are issued.",
    "rps_waiting_pages": "Pages that wait for a notebook and hear of it at once.",
    "rps_job_reports_total": "What was said of jobs, by whom.",
    "rps_start_time_seconds": "When the service started, in seconds since 1970.",
    "rps_certificate_expires_seconds": "When the front certificate ends, in seconds since 1970.",
    "rps_events_total": "What was done to sessions, since the service started.",
    "rps_refused_total": "Calls that were refused, by the code of docs/protocol.md.",
    "rps_without_claim_total": "Calls of the old dialect, which knows no claim.",
    "rps_worker_ends_total": "Workers of the embedded engine that ended and were replaced.",
    "rps_audit_dropped_total": "Lines that the audit log does not have.",
    "rps_redeem_to_reachable_seconds": "From a redemption's arrival until the engine had the route.",
}


class Durations:
    """A histogram of seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Add one."""
        self._counts[bisect_left(_BOUNDS, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str) -> list[str]:
        """Its samples; a bucket holds all that took no longer than its bound."""
        lines, total = [], 0
        for bound, count in zip((*map(str, _BOUNDS), "+Inf"), self._counts, strict=True):
            total += count
            lines.append(_sample(f"{name}_bucket", {"le": bound}, total))
        return [*lines, _sample(f"{name}_sum", {}, self._sum), _sample(f"{name}_count", {}, total)]


def exposition(
    service: Service,
    certificate_expires: float,
    ready: Mapping[str, bool],
    traffic: Traffic | None = None,
) -> str:
    """All metrics of a service.

    `certificate_expires` in seconds since 1970; `ready` as `Readiness` found it; `traffic` where the engine
    tells.
    """
    gauges: dict[str, list[tuple[dict[str, str], float]]] = {
        "rps_sessions": sessions_by_cluster(service.registry.clusters()),
        "rps_routes": [({}, service.routes)],
        "rps_engine_in_step": [({"engine": service.settings.engine_kind}, service.in_step)],
        "rps_ready": [({"what": what}, good) for what, good in ready.items()],
        "rps_draining": [({}, service.draining)],
        "rps_waiting_pages": [({}, service.waiting.open)],
        "rps_start_time_seconds": [({}, service.started_at)],
        "rps_certificate_expires_seconds": [({}, certificate_expires)],
    }
    if traffic is not None:
        gauges["rps_open_websockets"] = [({}, traffic.websockets)]
    lines = []
    for name, samples in gauges.items():
        lines += _family(name, "gauge", (_sample(name, labels, n) for labels, n in samples))
    counters: dict[str, list[tuple[dict[str, str], int]]] = {}
    for event, labels, number in service.counters.items():
        counters.setdefault(f"rps_{event.replace('-', '_')}_total", []).append((labels, number))
    if traffic is not None:
        counters["rps_bytes_total"] = [
            ({"direction": "in"}, traffic.received),
            ({"direction": "out"}, traffic.sent),
        ]
    seen = {labels["kind"] for labels, _ in counters.get("rps_events_total", [])}
    # From the start on, else Prometheus would not see the first of a kind as an increase.
    missing = [({"kind": event}, 0) for event in EVENTS if event not in seen]
    counters.setdefault("rps_events_total", []).extend(missing)
    for name, found in sorted(counters.items()):
        lines += _family(name, "counter", (_sample(name, labels, n) for labels, n in found))
    name = "rps_redeem_to_reachable_seconds"
    lines += _family(name, "histogram", service.reachable_after.lines(name))
    return "\n".join([*lines, ""])


def sessions_by_cluster(
    found: Iterable[tuple[str | None, str, int]],
) -> list[tuple[dict[str, str], float]]:
    """By phase and cluster: of the clusters those with the most sessions, the others as one."""
    numbers: Counter[tuple[str, str]] = Counter()
    of_cluster: Counter[str] = Counter()
    for said, phase, number in found:
        cluster = (said or "").lower()
        cluster = cluster if _CLUSTER.fullmatch(cluster) else "other" if cluster else "none"
        numbers[cluster, phase] += number
        of_cluster[cluster] += number
    largest = sorted(of_cluster, key=lambda cluster: (-of_cluster[cluster], cluster))
    shown = set(largest[:MOST_CLUSTERS])
    summed: Counter[tuple[str, str]] = Counter()
    for (cluster, phase), number in numbers.items():
        summed[cluster if cluster in shown else "other", phase] += number
    clusters = sorted({cluster for cluster, _ in summed}) or ["none"]
    # Every phase, so that none is missing from a graph until it first comes up.
    return [
        ({"phase": phase.name.lower(), "cluster": cluster}, summed[cluster, phase.name.lower()])
        for cluster in clusters
        for phase in Phase
    ]


def _family(name: str, kind: str, samples: Iterable[str]) -> list[str]:
    return [
        f"# HELP {name} {HELP.get(name, 'See docs/operators.md.')}",
        f"# TYPE {name} {kind}",
        *samples,
    ]


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    text = ",".join(f'{label}="{_escaped(value)}"' for label, value in labels.items())
    return f"{name}{{{text}}} {float(value)!r}" if text else f"{name} {float(value)!r}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
