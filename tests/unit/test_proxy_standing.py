"""What a session's page says: from which reports, in which words, and nothing of anybody's choosing."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rps_proxy.group_commit import RefusedError
from rps_proxy.jobs import LONGEST_REASON, report
from rps_proxy.pages import PAGES, Pages, told
from rps_proxy.session import JobReport, JobState, Phase, Session
from rps_proxy.standing import WAITING, Standing, age, expected, standing, words_for

SESSION = Session(
    name="one-two-three", claim=b"", phase=Phase.LINKED, job_id="4711", run_id=None,
    address=None, port=None, reason=None, created=1.0, lapsed=None, ended=None, cluster="comet",
    scheduler="slurm", user="alice", source="10.1.2.3", old_dialect=False, job_state=None,
    job_reason=None, job_estimate=None, job_seen=None, authenticated=False, own_job=None,
)  # fmt: skip
QUEUED = replace(
    SESSION,
    job_state=JobState.QUEUED,
    job_reason="other jobs are before it",
    job_estimate=2e9,
    job_seen=1e9,
)
GONE = replace(SESSION, job_state=JobState.GONE, job_reason="the job was cancelled")


@pytest.mark.parametrize(
    ("session", "live", "expected"),
    [
        (None, False, Standing("unknown")),
        (replace(SESSION, phase=Phase.ISSUED), False, Standing("pending")),
        (SESSION, False, Standing("pending")),
        (QUEUED, False, Standing("queued", "other jobs are before it", 2e9, 1e9)),
        (replace(SESSION, job_state=JobState.RUNNING), False, Standing("starting")),
        (GONE, False, Standing("ended", "the job was cancelled")),
        # Its notebook answers: whoever said that its job is over was wrong.
        (replace(GONE, phase=Phase.READY), True, Standing("ready")),
        (replace(QUEUED, phase=Phase.READY), True, Standing("ready")),
        (replace(SESSION, phase=Phase.READY), False, Standing("starting")),
        (replace(SESSION, phase=Phase.READY, lapsed=5.0), False, Standing("lapsed")),
        (
            replace(
                SESSION,
                phase=Phase.READY,
                lapsed=5.0,
                job_state=JobState.RUNNING,
                job_reason="the scheduler has suspended it",
            ),
            False,
            Standing("lapsed", "the scheduler has suspended it"),
        ),
        # What the queue said is of no interest any more.
        (replace(QUEUED, phase=Phase.READY, lapsed=5.0), False, Standing("lapsed")),
        (replace(GONE, phase=Phase.READY, lapsed=5.0), False, Standing("ended", GONE.job_reason)),
        (replace(SESSION, phase=Phase.GONE, reason="alice did it"), False, Standing("ended")),
    ],
)
def test_how_a_session_stands(session: Session | None, live: bool, expected: Standing) -> None:
    assert standing(session, live=live) == expected


@pytest.mark.parametrize("state", PAGES)
def test_a_page_tells_nothing_of_whose_it_is(state: str) -> None:
    for phase in Phase:
        for job in (None, *JobState):
            session = replace(SESSION, phase=phase, job_state=job, reason="alice on comet-17")
            found = standing(session, live=False)
            shown = Pages().html(found) + json.dumps(told(found))
            for secret in ("alice", "4711", "comet", "one-two-three", "10.1.2.3"):
                assert secret not in shown


@given(reason=st.text(min_size=1))
@pytest.mark.parametrize("state", ["queued", "lapsed", "ended"])
def test_no_reason_breaks_out_of_its_page(state: str, reason: str) -> None:
    plain = Pages().html(Standing(state, "x"))
    text = Pages().html(Standing(state, f"{reason}<script>\"'&"))
    tags = re.compile(r"<[^>]*>")
    assert tags.findall(text) == tags.findall(plain)
    assert "&lt;script&gt;&quot;&#x27;&amp;" in text


def test_reasons_are_sentences() -> None:
    assert Standing("queued", "its node is down").text == "Why your job waits: its node is down."
    assert Standing("ended", "maintenance.").text.startswith("Maintenance. There is")
    assert words_for("walltime") == "its walltime was over"
    for unknown in ("alice", None, 7, ["walltime"]):
        assert words_for(unknown) is None


@pytest.mark.parametrize("state", WAITING)
def test_who_has_no_script_reads_the_same(state: str) -> None:
    now = time.time()
    found = Standing(state, "its node is down", now + 1500.5, now - 125)
    text = Pages().html(found)
    assert found.title in text
    assert found.text.replace("'", "&#x27;") in text
    assert 'id="estimate">in about 25 minutes<' in text
    assert 'id="seen">2 minutes ago<' in text
    bare = Pages().html(Standing(state))
    assert bare.count("hidden>") == 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (5, "in less than a minute"),
        (90, "in about 2 minutes"),
        (119 * 60, "in about 119 minutes"),
        (5 * 3600, "in about 5 hours"),
        (50 * 3600, "in about 2 days"),
        (-300, "5 minutes ago, which has passed"),
    ],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert expected(1e9 + seconds, 1e9) == words
    if seconds < 0:
        assert age(1e9 + seconds, 1e9) == "5 minutes ago"


def test_a_report() -> None:
    assert report({"state": "running"}) == JobReport(JobState.RUNNING)
    said = {"state": "queued", "reason": "it waits", "estimate": 1800000000}
    assert report(said) == JobReport(JobState.QUEUED, "it waits", 1800000000.0)
    assert report({"state": "gone", "reason": "x" * LONGEST_REASON}).state is JobState.GONE


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"state": None},
        {"state": "unknown"},
        {"state": ["queued"]},
        {"state": "queued", "user": "alice"},
        {"state": "queued", "reason": ""},
        {"state": "queued", "reason": 7},
        {"state": "queued", "reason": "x" * (LONGEST_REASON + 1)},
        {"state": "queued", "reason": "two\nlines"},
        {"state": "queued", "reason": "\x1b[31m"},
        {"state": "queued", "estimate": "soon"},
        {"state": "queued", "estimate": True},
        {"state": "queued", "estimate": float("nan")},
        {"state": "queued", "estimate": float("inf")},
        {"state": "queued", "estimate": 10**400},
        {"state": "queued", "estimate": -1},
        {"state": "running", "estimate": 1800000000},
    ],
)
def test_no_report(said: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match="bad-request"):
        report(said)
