"""What a launcher that follows tells the service of a job, and how often."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rps_core import client, job_reports
from rps_core.errors import ServiceError
from rps_core.job_reports import ENDS, LONGEST_REASON, Reporter, report
from rps_core.models import Gone, JobPhase, JobStatus, Known, Outcome, Unknown
from rps_proxy import jobs
from rps_proxy.standing import words_for


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
            pending(reason="other jobs are before it", raw_reason="Priority"),
            {"state": "queued", "reason": "other jobs are before it"},
        ),
        # A code that nobody here knows may name a node, or hold what an administrator typed.
        (pending(reason="comet-17 bad", raw_reason="comet-17 bad"), {"state": "queued"}),
        (pending(reason="a\x1b\n b", raw_reason="X"), {"state": "queued", "reason": "a b"}),
        (
            pending(estimated_start=datetime(2027, 1, 1, tzinfo=UTC)),
            {"state": "queued", "estimate": 1798761600.0},
        ),
        (Known(phase=JobPhase.RUNNING, node="comet-17"), {"state": "running"}),
        (Known(phase=JobPhase.COMPLETING, reason="x"), {"state": "running"}),
        (
            Known(phase=JobPhase.SUSPENDED),
            {"state": "running", "reason": "the scheduler has suspended the job"},
        ),
        (
            Gone(outcome=Outcome.CANCELLED, evidence="sacct says CANCELLED by alice"),
            {"state": "gone", "reason": "the job was cancelled"},
        ),
        (Unknown(reason="squeue does not answer"), None),
    ],
)
def test_what_is_said(status: JobStatus, said: dict[str, Any] | None) -> None:
    assert report(status) == said
    if said is not None:
        jobs.report(said)  # and the service takes it


def test_the_service_has_words_for_every_end() -> None:
    assert set(ENDS) == set(Outcome)
    for cause, words in ENDS.values():
        assert words_for(cause) == words
    agent = (Path(job_reports.__file__).parent / "node" / "agent").glob("*.py")
    causes = {
        cause
        for module in agent
        for cause in re.findall(r'\bEnd\(\s*"([a-z-]+)"', module.read_text())
    }
    assert {"start-failed", "idle", "time-limit", "revoked", "refused"} <= causes
    # The service has the first from itself, and refused to have the second.
    for cause in causes - {"revoked", "refused"}:
        assert words_for(cause), cause
    long = report(pending(reason="x" * 1000, raw_reason="X"))
    assert long is not None
    assert len(long["reason"]) == LONGEST_REASON == jobs.LONGEST_REASON


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the service hears."""
    heard: list[dict[str, Any]] = []

    def tell_job(_name: str, _claim: str, said: dict[str, Any]) -> None:
        if said["state"] == "running" and "reason" in said:
            raise ServiceError("no", "", code="no-such-call")
        heard.append(said)

    monkeypatch.setattr(client, "client_of", lambda *_: Anything(tell_job=tell_job))
    return heard


def reporter(protocol: str = "rps") -> Reporter:
    record: Any = Anything(name="a-b-c", endpoint=Anything(protocol=protocol))
    here: Any = Anything()
    files = Anything(secrets=lambda: Anything(claim="x"))
    store: Any = Anything(files=lambda _name: files)
    return Reporter(record, here, store)


def test_it_is_said_once_and_again_after_a_while(
    told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    one = reporter()
    for _ in range(3):
        one.tell(pending())
    assert len(told) == 1
    now[0] += job_reports.AGAIN_AFTER
    one.tell(pending())
    assert len(told) == 2
    one.tell(Unknown(reason="squeue does not answer"))
    one.tell(None)
    one.tell(Gone(outcome=Outcome.ENDED, evidence="x"))  # what settles it tells that
    assert len(told) == 2
    one.tell(Known(phase=JobPhase.RUNNING))
    now[0] += 10 * job_reports.AGAIN_AFTER
    one.tell(Known(phase=JobPhase.RUNNING))
    assert told[2:] == [{"state": "running"}]


def test_a_service_that_does_not_know_the_call_is_left_alone(told: list[dict[str, Any]]) -> None:
    one = reporter()
    one.tell(Known(phase=JobPhase.SUSPENDED))  # refused
    one.tell(pending())
    assert not told
    reporter("satellite").tell(pending())
    assert not told
