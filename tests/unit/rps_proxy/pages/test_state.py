"""The text of a session's page: by the reports, in the service's words alone."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rps_core.protocol import LONGEST_REASON
from rps_proxy.api.jobs import report
from rps_proxy.pages.catalogue import Catalogue
from rps_proxy.pages.render import PAGES, Pages, as_sent
from rps_proxy.pages.state import WAITING, PageState, known_cause, standing
from rps_proxy.pages.wording import age, expected, heading, text
from rps_proxy.refusals import RefusedError
from rps_proxy.registry.session import JobReport, JobState, Phase, Session

EN = Catalogue().language("en")
PAGE = Pages()
SESSION = Session(
    name="one-two-three", claim=b"", phase=Phase.LINKED, job_id="4711", run_id=None,
    address=None, port=None, reason=None, created=1.0, lapsed=None, ended=None, cluster="comet",
    scheduler="slurm", user="alice", source="10.1.2.3", satellite=False, job_state=None,
    job_reason=None, job_estimate=None, job_seen=None, authenticated=False, own_job=None,
)  # fmt: skip
QUEUED = replace(
    SESSION,
    job_state=JobState.QUEUED,
    job_reason="priority",
    job_estimate=2e9,
    job_seen=1e9,
)
GONE = replace(SESSION, job_state=JobState.GONE, job_reason="cancelled")


@pytest.mark.parametrize(
    ("session", "live", "expected"),
    [
        (None, False, PageState("unknown")),
        (replace(SESSION, phase=Phase.ISSUED), False, PageState("pending")),
        (SESSION, False, PageState("pending")),
        (QUEUED, False, PageState("queued", "priority", 2e9, 1e9)),
        (replace(SESSION, job_state=JobState.RUNNING), False, PageState("starting")),
        (
            replace(SESSION, job_state=JobState.RUNNING, job_reason="building"),
            False,
            PageState("starting", "building"),
        ),
        (
            replace(SESSION, job_state=JobState.RUNNING, job_reason="priority"),
            False,
            PageState("starting"),
        ),
        (GONE, False, PageState("ended", "cancelled")),
        # Its notebook answers, so the report that its job has ended was wrong.
        (replace(GONE, phase=Phase.READY), True, PageState("ready")),
        (replace(QUEUED, phase=Phase.READY), True, PageState("ready")),
        (replace(SESSION, phase=Phase.READY), False, PageState("starting")),
        (replace(SESSION, phase=Phase.READY, lapsed=5.0), False, PageState("lapsed")),
        (
            replace(
                SESSION,
                phase=Phase.READY,
                lapsed=5.0,
                job_state=JobState.RUNNING,
                job_reason="suspended",
            ),
            False,
            PageState("lapsed", "suspended"),
        ),
        # The queue's reason no longer applies.
        (replace(QUEUED, phase=Phase.READY, lapsed=5.0), False, PageState("lapsed")),
        (
            replace(GONE, phase=Phase.READY, lapsed=5.0),
            False,
            PageState("ended", "cancelled"),
        ),
        (replace(SESSION, phase=Phase.GONE, reason="alice did it"), False, PageState("ended")),
        (
            replace(GONE, phase=Phase.GONE, notice="Maintenance: see status.example.org"),
            False,
            PageState("ended", "cancelled", notice="Maintenance: see status.example.org"),
        ),
    ],
)
def test_how_a_session_stands(session: Session | None, live: bool, expected: PageState) -> None:
    name, cluster = (None, None) if session is None else (session.name, session.cluster)
    assert standing(session, live=live) == replace(expected, name=name, cluster=cluster)


@pytest.mark.parametrize("state", PAGES)
def test_a_page_shows_nothing_of_whose_it_is(state: str) -> None:
    for phase in Phase:
        for job in (None, *JobState):
            session = replace(SESSION, phase=phase, job_state=job, reason="alice on comet-17")
            found = standing(session, live=False)
            shown = PAGE.html(found, EN) + json.dumps(as_sent(found, EN))
            for secret in ("alice", "4711", "comet-17", "10.1.2.3"):
                assert secret not in shown
            assert f"{heading(found, EN)} · one-two-three · comet</title>" in shown


@pytest.mark.parametrize(
    "cluster",
    [
        "see https://evil.example",
        "evil.example",
        "call me",
        "<b>",
        "x" * 41,
        "",
        "-x",
        "\u202ecomet",
    ],
)
def test_a_cluster_that_is_no_name_is_not_shown(cluster: str) -> None:
    """Test the name that any launcher may send."""
    assert standing(replace(SESSION, cluster=cluster), live=False).cluster is None


@pytest.mark.parametrize("state", PAGES)
def test_the_page_of_a_satellite_session_names_no_command_of_rps(state: str) -> None:
    """Test a user with another client: `start-jupyter`, galyleo."""
    shown = PAGE.html(PageState(state, satellite=True), EN)
    assert "is running, but" not in shown
    if state not in ("unknown", "home", "nothing-here"):  # whose client is not known
        assert "<code>rps" not in shown


def test_a_satellite_session_stands_as_one() -> None:
    for session in (SESSION, QUEUED, GONE):
        for satellite in (True, False):
            found = standing(replace(session, satellite=satellite), live=False)
            assert found.satellite == satellite


@given(reason=st.text(min_size=1))
@pytest.mark.parametrize("state", ["queued", "lapsed", "ended"])
def test_no_reason_breaks_out_of_its_page(state: str, reason: str) -> None:
    plain = PAGE.html(PageState(state, notice="x"), EN)
    found = PAGE.html(PageState(state, notice=f"{reason}<script>\"'&"), EN)
    tags = re.compile(r"<[^>]*>")
    assert tags.findall(found) == tags.findall(plain)
    assert "&lt;script&gt;&quot;&#x27;&amp;" in found


@given(
    words=st.text()
    | st.sampled_from(["log in again at https://evil.example", "Cancelled", "cancelled "])
)
def test_no_other_users_text_is_on_a_page(words: str) -> None:
    """Test that text in the registry, in any state, does not change a page."""
    if known_cause(words) or re.fullmatch("[A-Za-z0-9_-]+", words):
        return
    for session in (QUEUED, GONE, replace(QUEUED, job_state=JobState.RUNNING, phase=Phase.READY, lapsed=5.0),
                    replace(GONE, phase=Phase.GONE)):  # fmt: skip
        said = replace(
            session, job_reason=words, reason=words, job_id=words, user=words, cluster=words
        )
        silent = standing(replace(session, job_reason=None, cluster=None), live=False)
        assert standing(said, live=False) == silent
        assert silent.cause is None
    assert report({"state": "queued", "reason": "x" + words.replace("\n", "")[:100]} if words.isprintable()
                  else {"state": "queued"}).reason is None  # fmt: skip


def test_reasons_are_sentences() -> None:
    waits = "Your job is waiting: jobs with higher priority are ahead of it."
    assert text(PageState("queued", "priority"), EN) == waits
    assert text(PageState("ended", "walltime"), EN).startswith(
        "The job reached its walltime limit. The "
    )
    assert text(PageState("ended", notice="maintenance."), EN).startswith(
        "Maintenance. The notebook"
    )
    assert known_cause("walltime") == "walltime"
    for unknown in ("alice", None, 7, ["walltime"]):
        assert known_cause(unknown) is None


@pytest.mark.parametrize("state", WAITING)
def test_who_has_no_script_reads_the_same(state: str) -> None:
    now = time.time()
    found = PageState(state, "nodes-unavailable", now + 1500.5, now - 125)
    page = PAGE.html(found, EN)
    assert heading(found, EN) in page
    assert text(found, EN).replace("'", "&#x27;") in page
    assert 'id="estimate">in about 25 minutes<' in page
    assert 'id="seen">2 minutes ago<' in page
    bare = PAGE.html(PageState(state), EN)
    assert bare.count("hidden>") == 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (5, "in less than a minute"),
        (90, "in about 2 minutes"),
        (119 * 60, "in about 119 minutes"),
        (5 * 3600, "in about 5 hours"),
        (50 * 3600, "in about 2 days"),
        (-300, "5 minutes ago (overdue)"),
    ],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert expected(1e9 + seconds, EN, 1e9) == words
    if seconds < 0:
        assert age(1e9 + seconds, EN, 1e9) == "5 minutes ago"


def test_a_report() -> None:
    assert report({"state": "running"}) == JobReport(JobState.RUNNING)
    said = {"state": "queued", "reason": "held", "estimate": 1800000000}
    assert report(said) == JobReport(JobState.QUEUED, "held", 1800000000.0)
    # Text of an earlier launcher or of any client: the report counts, its text does not.
    assert report({"state": "queued", "reason": "you hold it"}) == JobReport(JobState.QUEUED)
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


def test_the_page_says_that_the_environment_is_being_built() -> None:
    said = report({"state": "running", "reason": "building"})
    session = replace(SESSION, job_state=said.state, job_reason=said.reason)
    assert text(standing(session, live=False), EN) == (
        "Your job is running: its environment is being built."
    )
