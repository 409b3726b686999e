"""The reports on a job that a following launcher sends, and how often."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from rps_core.diagnosis.causes import WAITING
from rps_core.errors import ServiceError
from rps_core.jobs import Gone, JobPhase, JobStatus, Known, Outcome, Unknown
from rps_core.node.agent.protocol import WAITS
from rps_core.proxy_client import client
from rps_core.sessions import report_job as job_reports
from rps_core.sessions.report_job import ENDS, Reporter, report
from rps_proxy.api import jobs
from rps_proxy.pages.state import known_cause
from tests.conftest import PROJECT
from tests.stands.causes import AGENT_CAUSES


class Anything:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def pending(**more: Any) -> Known:
    return Known(phase=JobPhase.PENDING, **more)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (pending(), {"state": "queued"}),
        (
            pending(
                reason="other jobs have a higher priority", raw_reason="Priority", cause="priority"
            ),
            {"state": "queued", "reason": "priority"},
        ),
        # An unknown code may name a node, or hold an administrator's text.
        (pending(reason="comet-17 bad", raw_reason="comet-17 bad"), {"state": "queued"}),
        (pending(reason="x", cause="a plugin's own word"), {"state": "queued"}),
        (
            pending(estimated_start=datetime(2027, 1, 1, tzinfo=UTC)),
            {"state": "queued", "estimate": 1798761600.0},
        ),
        (Known(phase=JobPhase.RUNNING, node="comet-17"), {"state": "running"}),
        (Known(phase=JobPhase.COMPLETING, reason="x"), {"state": "running"}),
        (
            Known(phase=JobPhase.SUSPENDED),
            {"state": "running", "reason": "suspended"},
        ),
        (
            Gone(outcome=Outcome.CANCELLED, evidence="sacct says CANCELLED by alice"),
            {"state": "gone", "reason": "cancelled"},
        ),
        (Unknown(reason="squeue does not answer"), None),
    ],
)
def test_what_is_said(status: JobStatus, said: dict[str, Any] | None) -> None:
    assert report(status) == said
    if said is not None:
        assert jobs.report(said).reason == said.get("reason")  # and the service knows the word


def test_the_service_has_known_cause_every_end() -> None:
    assert set(ENDS) == set(Outcome)
    for cause in (*ENDS.values(), *WAITS):
        assert known_cause(cause), cause
    # Each that a scheduler may give for a job that waits, but for the one that says nothing.
    assert set(WAITING) - {"waiting"} <= set(WAITS)
    # The service ends a session as revoked itself, and knows why it refused one.
    for cause in AGENT_CAUSES - {"revoked", "refused"}:
        assert known_cause(cause), cause


def test_the_documents_list_the_causes_of_an_agent() -> None:
    page = (PROJECT / "docs" / "sessions.md").read_text("utf-8")
    listed = page.partition("with `reason` in words and `cause`: ")[2].partition(".\n")[0]
    assert set(re.findall(r"`([a-z-]+)`", listed)) == AGENT_CAUSES


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return the reports that the service gets."""
    heard: list[dict[str, Any]] = []

    def report_job(_name: str, _claim: str, said: dict[str, Any]) -> None:
        if said["state"] == "running" and "reason" in said:
            raise ServiceError("no", "", code="no-such-call")
        heard.append(said)

    monkeypatch.setattr(client, "client_of", lambda *_: Anything(report_job=report_job))
    return heard


def reporter() -> Reporter:
    record: Any = Anything(name="a-b-c")
    here: Any = Anything()
    files = Anything(secrets=lambda: Anything(claim="x"))
    store: Any = Anything(files=lambda _name: files)
    return Reporter(record, here, store)


def test_it_is_logged_once_and_again_after_a_while(
    reports: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    one = reporter()
    for _ in range(3):
        one.report(pending())
    assert len(reports) == 1
    now[0] += job_reports.AGAIN_AFTER
    one.report(pending())
    assert len(reports) == 2
    one.report(Unknown(reason="squeue does not answer"))
    one.report(None)
    one.report(Gone(outcome=Outcome.ENDED, evidence="x"))  # the end of the session reports that
    assert len(reports) == 2
    one.report(Known(phase=JobPhase.RUNNING))
    now[0] += 10 * job_reports.AGAIN_AFTER
    one.report(Known(phase=JobPhase.RUNNING))
    assert reports[2:] == [{"state": "running"}]


def test_a_service_that_does_not_know_the_call_is_left_alone(reports: list[dict[str, Any]]) -> None:
    one = reporter()
    one.report(Known(phase=JobPhase.SUSPENDED))  # refused
    one.report(pending())
    assert not reports
