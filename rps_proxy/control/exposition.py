"""The service's metrics in Prometheus' text format 0.0.4.

Imported for the first request of /metrics: prometheus_client takes 30 ms to import, for which `rps start`
would wait where it starts a personal service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from rps_proxy.control.metrics import HELP, sessions_by_cluster

if TYPE_CHECKING:
    from rps_proxy.control.service import Service
    from rps_proxy.engine import Traffic

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

Samples = Sequence[tuple[Mapping[str, str], float]]


def exposition(
    service: Service,
    certificate_expires: float,
    ready: Mapping[str, bool],
    traffic: Traffic | None = None,
) -> bytes:
    """Return all metrics of a service.

    Args:
        service: The service.
        certificate_expires: Expiry of the front certificate, in seconds since 1970.
        ready: Whether each readiness check passes, from `Readiness`.
        traffic: What the engine has carried; None: the engine does not report it.
    """
    in_step = ready.get("engine", service.routes.in_step)
    gauges: dict[str, Samples] = {
        "rps_sessions": sessions_by_cluster(service.registry.clusters()),
        "rps_routes": [({}, len(service.routes))],
        "rps_engine_in_step": [({"engine": service.settings.engine_kind}, in_step)],
        "rps_ready": [({"what": check}, passes) for check, passes in ready.items()],
        "rps_draining": [({}, service.draining)],
        "rps_waiting_pages": [({}, service.waiting.open)],
        "rps_start_time_seconds": [({}, service.started_at)],
        "rps_certificate_expires_seconds": [({}, certificate_expires)],
    }
    counters: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for event, labels, number in service.counters.items():
        counters.setdefault(f"rps_{event.replace('-', '_')}_total", []).append((labels, number))
    if traffic is not None:
        gauges["rps_open_websockets"] = [({}, traffic.websockets)]
        counters["rps_bytes_total"] = [
            ({"direction": "in"}, traffic.received),
            ({"direction": "out"}, traffic.sent),
        ]
    name, durations = "rps_redeem_to_reachable_seconds", service.routes.reachable_after
    families: list[Metric] = [
        *(_family(GaugeMetricFamily, each, samples) for each, samples in gauges.items()),
        *(_family(CounterMetricFamily, each, counters[each]) for each in sorted(counters)),
        HistogramMetricFamily(name, HELP[name], durations.buckets(), durations.sum),
    ]
    return generate_latest(_Families(families))


class _Families(Collector):
    """Collected metrics; the library's own, of the Python process, are not among them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _family(
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily], name: str, samples: Samples
) -> Metric:
    """Make one metric; all its samples have the same labels."""
    labels = sorted(samples[0][0])
    family = kind(name, HELP[name], labels=labels)
    for values, number in samples:
        family.add_metric([values[label] for label in labels], float(number))
    return family
