"""The text of /metrics, as the parser of Prometheus' client reads it."""

from __future__ import annotations

import ssl
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from rps_proxy.control.counters import Counters
from rps_proxy.control.exposition import CONTENT_TYPE, exposition
from rps_proxy.control.metrics import HELP
from rps_proxy.control.service import Service
from rps_proxy.engine import Traffic
from rps_proxy.engines.embedded.routes import Routes
from rps_proxy.hostnames import Hosts
from rps_proxy.pages.catalogue import Catalogue
from rps_proxy.registry.session import Request
from rps_proxy.settings.loading import load

# Operators' dashboards and alarms name these: a change is one for CHANGELOG.md.
METRICS: dict[str, tuple[str, set[str]]] = {
    "rps_sessions": ("gauge", {"phase", "cluster"}),
    "rps_routes": ("gauge", set()),
    "rps_engine_in_step": ("gauge", {"engine"}),
    "rps_ready": ("gauge", {"what"}),
    "rps_draining": ("gauge", set()),
    "rps_waiting_pages": ("gauge", set()),
    "rps_start_time_seconds": ("gauge", set()),
    "rps_certificate_expires_seconds": ("gauge", set()),
    "rps_open_websockets": ("gauge", set()),
    "rps_bytes_total": ("counter", {"direction"}),
    "rps_events_total": ("counter", {"kind"}),
    "rps_job_reports_total": ("counter", {"by", "state"}),
    "rps_refused_total": ("counter", {"call", "cause"}),
    "rps_without_claim_total": ("counter", {"call"}),
    "rps_worker_ends_total": ("counter", set()),
    "rps_audit_dropped_total": ("counter", {"kind"}),
    "rps_redeem_to_reachable_seconds": ("histogram", set()),
}


async def test_every_metric_has_its_name_type_labels_and_help(tmp_path: Path) -> None:
    hosts = Hosts("rps.localhost", 443)
    engine = Routes(hosts, ssl.create_default_context(), 1.0)
    settings = load(None, ["engine=embedded", f"audit.file={tmp_path / 'audit.log'}"])
    service = Service(settings, tmp_path, hosts, engine, Counters(), Catalogue())
    service.counters.expect("refused", call=("api",), cause=("gone",))
    service.counters.expect("without-claim", call=("getlink",))
    await service.start()
    try:
        await service.issue(Request(source="127.0.0.1", cluster="here"), "x")
        for seconds in (0.005, 0.3, 99.0):
            service.routes.reachable_after.observe(seconds)
        text = exposition(
            service, 1784527200.5, {"registry": True, "engine": False}, Traffic(3, 10**12, 5)
        ).decode()
    finally:
        await service.end()
    families = {}
    for family in text_string_to_metric_families(text):
        # The parser takes `_total` from a counter's name; its samples have it.
        name = f"{family.name}_total" if family.type == "counter" else family.name
        families[name] = family
        assert f"# HELP {name} {HELP[name]}\n# TYPE {name} {family.type}\n" in text
    found = {
        name: (family.type, {label for each in family.samples for label in each.labels} - {"le"})
        for name, family in families.items()
    }
    assert found == METRICS
    assert METRICS.keys() == HELP.keys()
    values = {
        (each.name, *each.labels.values()): each.value
        for family in families.values()
        for each in family.samples
    }
    assert values["rps_sessions", "here", "issued"] == 1
    assert values["rps_certificate_expires_seconds",] == 1784527200.5
    assert values["rps_bytes_total", "in"] == 10**12
    assert (values["rps_ready", "registry"], values["rps_ready", "engine"]) == (1, 0)
    assert values["rps_events_total", "issue"] == 1
    histogram = families["rps_redeem_to_reachable_seconds"].samples
    assert [each.value for each in histogram if each.name.endswith("_bucket")] == [
        *[1] * 6, *[2] * 5, 3,
    ]  # fmt: skip
    assert histogram[-1].value == 99.305
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"
