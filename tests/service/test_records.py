"""Metrics and the audit log of the running service, and no secret in either."""

from __future__ import annotations

import json
import sqlite3
import stat
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rps_proxy.cli import admin_client as operate
from rps_proxy.settings.loading import load
from tests.stands.service import DOMAIN, Service, running_service
from tests.stands.waiting import until

SHORT = {"lease.length": 1, "lease.renew_every": 0.4, "advanced.sweep_every": 0.2}


def metrics(service: Service) -> dict[str, float]:
    """Return each series with sorted labels, read by Prometheus' own parser."""
    text = operate.ask(
        load(None, [f"directory={service.directory / 'service'}"]), "GET", "/metrics"
    )
    assert text
    assert text.endswith("\n")
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            series = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert series not in found
            found[series] = sample.value
    return found


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_each_counter_is_there_before_its_first_event(tmp_path: Path) -> None:
    """Test counters before an event: else Prometheus sees no increase at the first."""
    file = {"audit.file": tmp_path / "audit.log", "advanced.audit_lines_per_minute": 1}
    with running_service(tmp_path, **file) as service:
        before = metrics(service)
        session = service.issue()
        manage = f"manage.{DOMAIN}:{service.port}"
        for _ in range(2):
            service.call("GET", "nothing")
            service.call("GET", f"sessions/{session.name}", "x" * 43)
            service.call("POST", f"sessions/{session.name}/job", session.claim, {"state": "queued"})
            service.call("PUT", f"sessions/{session.name}", session.claim)
        service.redeem(session, 1)
        service.redeem(session, 5000)
        service.revoke(session)
        service.renew(session)
        for path in ("getlink.cgi", "linktoken.cgi", "redeemtoken.cgi?token=none&port=8888"):
            service.request(manage, "GET", f"/{path}")
        service.request(manage, "GET", "/getlink.cgi", headers={"Origin": "https://example.org"})
        after = metrics(service)
    counters = {series for series in after if series.partition("{")[0].endswith("_total")}
    assert counters <= before.keys()
    began = {"rps_refused_total", "rps_events_total", "rps_job_reports_total"}
    assert {
        series.partition("{")[0] for series in counters if after[series] > before[series]
    } >= began
    for series in (
        'rps_refused_total{call="api",cause="wrong-claim"}',
        'rps_refused_total{call="api",cause="busy"}',
        'rps_refused_total{call="linktoken",cause="outside-networks"}',
        "rps_worker_ends_total",
        'rps_audit_dropped_total{kind="refusal"}',
        'rps_without_claim_total{call="getlink"}',
        'rps_job_reports_total{by="feed",state="gone"}',
    ):
        assert before[series] == 0, series
    assert after['rps_refused_total{call="getlink",cause="from-a-page"}'] == 1


def test_metrics_count_what_happened(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        before = metrics(service)
        assert before['rps_events_total{kind="issue"}'] == 0
        with service.notebook() as (session, _):
            other = service.issue(user="someone", cluster="somewhere")
            assert service.renew(session) == 200
            assert service.call("GET", f"sessions/{session.name}", other.claim)[0] == 403
            service.revoke(other)
            after = metrics(service)
        for event, number in {"issue": 2, "redeem": 1, "renew": 1, "revoke": 1, "lapse": 0}.items():
            assert after[f'rps_events_total{{kind="{event}"}}'] == number
        assert after['rps_refused_total{call="api",cause="wrong-claim"}'] == 1
        assert after['rps_sessions{cluster="none",phase="ready"}'] == 1
        assert after['rps_sessions{cluster="somewhere",phase="gone"}'] == 1
        ready = {key: value for key, value in after.items() if key.startswith("rps_ready")}
        needed = ("registry", "engine", "certificate", "renewal", "audit")  # and no MUNGE
        assert ready == {f'rps_ready{{what="{what}"}}': 1 for what in needed}
        assert after["rps_routes"] == after['rps_engine_in_step{engine="embedded"}'] == 1
        assert after["rps_redeem_to_reachable_seconds_count"] == 1
        assert after['rps_redeem_to_reachable_seconds_bucket{le="+Inf"}'] == 1
        assert after["rps_redeem_to_reachable_seconds_sum"] > 0
        names = " ".join(after)
        for private in (session.name, other.name, "someone", session.claim):
            assert private not in names


def test_the_audit_log_tells_who_and_where(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    with running_service(tmp_path, **SHORT, **{"audit.file": file}) as service:
        session = service.issue(user="ada", cluster="comet")
        path = f"sessions/{session.name}"
        assert service.call("POST", f"{path}/link", session.claim, {"job_id": "17"})[0] == 200
        assert service.redeem(session, 5000)[0] == 200
        until(lambda: any(line["event"] == "lapse" for line in lines(file)), "the lease is over")
        assert service.renew(session) == 200
        body = {"reason": "done with token=canary"}
        assert service.call("POST", f"{path}/revoke", session.claim, body)[0] == 200
        assert service.redeem(session, 5000)[0] == 410
        found = [line for line in lines(file) if line.pop("time")]
        events = [line["event"] for line in found]
        assert events[:5] == ["issue", "link", "redeem", "lapse", "back"]
        assert events[-2:] == ["revoke", "refusal"]
        who = {"name": session.name, "user": "ada", "cluster": "comet", "source": "127.0.0.1"}
        assert found[0] == {"event": "issue", **who}
        done = {"job": "17", "node": "127.0.0.1", **who}
        assert found[2] == {"event": "redeem", **done}
        assert found[-2] == {"event": "revoke", "cause": "done with token=[withheld]", **done}
        assert found[-1] == {"event": "refusal", "cause": "gone", **done}
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        file.rename(tmp_path / "audit.log.1")
        service.issue()
        assert [line["event"] for line in lines(file)] == ["issue"]


def test_calls_without_a_claim_are_recorded_as_the_others(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    settings = {"audit.file": file, "limits.issues_per_minute": 1}
    with running_service(tmp_path, **settings) as service:

        def ask(path: str) -> bytes:
            return service.request(f"manage.{DOMAIN}", "GET", path).body

        name = ask("/getlink.cgi").split()[-1].decode()
        for path in ("/link", "/redeem", "/destroy"):
            assert ask(f"{path}token.cgi?token={name}&jobid=17&port=5000").startswith(b"Success!")
        for path in ("/getlink", f"/redeemtoken.cgi?token={name}&port=5000&a=", "/linktoken"):
            assert ask(f"{path}.cgi").startswith(b"Oops!")
        assert service.call("POST", "sessions", body={})[1]["error"] == "too-fast"
        found = [(line["event"], line.get("name"), line.get("cause")) for line in lines(file)]
        assert found == [
            ("issue", name, None),
            ("link", name, None),
            ("redeem", name, None),
            ("revoke", name, "destroyed"),
            ("refusal", None, "too-fast"),
            ("refusal", None, "gone"),
            ("refusal", None, "bad-request"),
            ("refusal", None, "too-fast"),
        ]
        after = metrics(service)
        for event in ("issue", "link", "redeem", "revoke"):
            assert after[f'rps_events_total{{kind="{event}"}}'] == 1
        refused = {"getlink": "too-fast", "redeemtoken": "gone", "linktoken": "bad-request"}
        for call, cause in (*refused.items(), ("api", "too-fast")):
            assert after[f'rps_refused_total{{call="{call}",cause="{cause}"}}'] == 1


def test_no_claim_and_no_query_string_in_any_record(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    canary = "canary-7f3a91"
    with (
        running_service(tmp_path, **{"audit.file": file, "log.level": "debug"}) as service,
        service.notebook() as (session, _),
    ):
        other = service.issue()
        for path in (f"sessions/{session.name}", f"sessions/{canary}", canary, "sessions"):
            for method in ("GET", "POST", "DELETE"):
                service.call(method, f"{path}?token={canary}&x={canary}", canary, {canary: canary})
        service.call("GET", f"sessions/{session.name}?token={canary}", other.claim)
        service.request(session.host, "GET", f"/lab?token={canary}")
        service.request(other.host, "GET", f"/lab?token={canary}")
        service.redeem(session, 5001)
        service.revoke(session)
        text = str(metrics(service)) + file.read_text() + service.log()
        assert {line["event"] for line in lines(file)} == {"issue", "redeem", "refusal", "revoke"}
        for secret in (canary, session.claim, other.claim):
            assert secret not in text


def test_a_flood_of_refusals_hides_nothing_else(tmp_path: Path) -> None:
    most = 3
    file = tmp_path / "audit.log"
    with running_service(
        tmp_path, **{"audit.file": file, "advanced.audit_lines_per_minute": most}
    ) as service:
        session = service.issue()
        for _ in range(20):
            service.call("GET", "nothing")
        service.revoke(session)
        events = [line["event"] for line in lines(file)]
        assert events == ["issue", *["refusal"] * most, "revoke"]
        assert metrics(service)['rps_audit_dropped_total{kind="refusal"}'] == 20 - most


def test_an_audit_log_that_cannot_be_written_is_reported_and_ends_nothing(tmp_path: Path) -> None:
    with running_service(tmp_path, **{"audit.file": tmp_path / "missing" / "audit.log"}) as service:
        assert service.log().count("audit-not-written") == 1  # before there is anything to write
        service.issue()
        service.issue()
        assert service.log().count("audit-not-written") == 1
        assert metrics(service)['rps_audit_dropped_total{kind="issue"}'] == 2
        (tmp_path / "missing").mkdir()
        service.issue()
        assert len(lines(tmp_path / "missing" / "audit.log")) == 1


@pytest.mark.parametrize("how", ["gone", "a link", "a directory", "full"])
def test_an_audit_log_that_cannot_be_written_shows(how: str, tmp_path: Path) -> None:
    """Test status, readiness and metrics until the log can be written again."""
    directory = tmp_path / "audit"
    directory.mkdir()
    file = Path("/dev/full") if how == "full" else directory / "audit.log"
    with running_service(tmp_path, **{"audit.file": file}) as service:
        settings = load(None, [f"directory={service.directory / 'service'}", "engine=embedded"])

        def faults() -> dict[str, str]:
            found: dict[str, str] = operate.status(settings)["faults"]
            return found

        service.issue()
        if how != "full":  # which shows with the first line alone
            assert faults() == {}
            file.rename(directory / "audit.log.1")
            assert faults() == {}
        if how == "gone":
            directory.rename(tmp_path / "moved")
        elif how == "a link":
            file.unlink()
            file.symlink_to(directory / "elsewhere")
        elif how == "a directory":
            file.unlink()
            file.mkdir()
        found = faults()
        assert found.keys() == {"audit"}
        assert str(file) in found["audit"]
        assert service.call("GET", "ready") == (503, {"ready": False, "lacking": ["audit"]})
        assert metrics(service)['rps_ready{what="audit"}'] == 0
        if how == "full":
            return
        if how == "gone":
            (tmp_path / "moved").rename(directory)
        elif how == "a link":
            file.unlink()
        else:
            file.rmdir()
        assert faults() == {}


def test_it_is_ready_while_it_can_do_what_it_is_for(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        settings = load(None, [f"directory={service.directory / 'service'}"])
        assert service.call("GET", "ready") == (200, {"ready": True, "lacking": []})
        assert json.loads(operate.ask(settings, "GET", "/ready") or "")["ready"] is True
        locked = sqlite3.connect(tmp_path / "service" / "registry.db")
        locked.execute("BEGIN IMMEDIATE")  # another writer locks the registry

        def unready() -> bool:
            return service.call("GET", "ready") == (
                503,
                {"ready": False, "lacking": ["registry"]},
            )

        until(unready, "it is not ready")
        assert service.call("GET", "health")[0] == 200
        assert metrics(service)['rps_ready{what="registry"}'] == 0
        locked.close()
        until(lambda: service.call("GET", "ready")[0] == 200, "it is ready again")
