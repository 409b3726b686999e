"""Each cause, recognised from what a scheduler, an agent or a log really says; and how it is told."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rps_core import causes, why
from rps_core.ending import settle
from rps_core.models import Evidence, Gone, JobPhase, JobStatus, Known, Outcome, Unknown
from rps_core.record import Endpoint, Record, Secrets
from rps_core.store import Store
from rps_core.why import Facts
from tests.unit.test_wording import RECORD

STARTED = {"time": 1.0, "event": "started"}
AWAY = {"time": 2.0, "event": "service-away", "reason": "Connection refused"}
BACK = {"time": 3.0, "event": "service-back"}


def ended(cause: str, reason: str, **more: Any) -> dict[str, Any]:
    return {"time": 9.0, "event": "ended", "cause": cause, "reason": reason} | more


def gone(outcome: Outcome, evidence: str = "squeue says so") -> Gone:
    return Gone(outcome=outcome, evidence=evidence)


FAILED = gone(Outcome.FAILED)
ENDS: list[tuple[str, Facts]] = [
    ("time-limit", Facts(gone=gone(Outcome.TIMEOUT), events=[STARTED, ended("signal", "asked")])),
    ("out-of-memory", Facts(gone=gone(Outcome.OUT_OF_MEMORY), events=[STARTED])),
    ("node-failure", Facts(gone=gone(Outcome.NODE_FAILED), events=[STARTED])),
    ("preempted", Facts(gone=gone(Outcome.PREEMPTED), events=[STARTED])),
    (
        "time-limit",
        Facts(
            gone=gone(Outcome.ENDED),
            events=[STARTED],
            log=["=>> PBS: job killed: walltime 27 exceeded limit 5"],
        ),
    ),
    (
        "out-of-memory",
        Facts(
            gone=gone(Outcome.CANCELLED),
            events=[STARTED, ended("signal", "The job was asked to end")],
            log=["slurmstepd-comet-14-01: error: Exceeded job memory limit"],
        ),
    ),
    (
        "no-module",
        Facts(
            gone=FAILED,
            log=["Lmod has detected the following error: The following module(s) are unknown",
                 "rps: the module no-such/1.0 could not be loaded"],
        ),
    ),
    ("no-environment", Facts(gone=FAILED, log=["rps: conda does not activate science"])),
    ("no-environment", Facts(gone=FAILED, log=["rps: there is no conda to activate x with"])),
    ("no-python", Facts(gone=FAILED, log=["rps: this node has no Python 3.6 or newer: none"])),
    (
        "no-jupyter",
        Facts(
            gone=FAILED,
            events=[STARTED, ended("start-failed", "There is no program `jupyter` on this node.")],
        ),
    ),
    (
        "no-jupyter",
        Facts(
            gone=FAILED,
            events=[STARTED, ended("start-failed", "Jupyter ended before it answered: exit code 1",
                                   log="Jupyter command `jupyter-lab` not found.")],
        ),
    ),
    (
        "jupyter-failed",
        Facts(
            gone=FAILED,
            events=[STARTED, ended("start-failed", "Jupyter ended before it answered: exit code 1",
                                   log="Bad config encountered during initialization")],
        ),
    ),
    (
        "no-directory",
        Facts(events=[STARTED, ended("start-failed", "The notebook directory /x is not here")]),
    ),
    (
        "port-taken",
        Facts(events=[STARTED, ended("start-failed", "No port is free on 10.0.0.1, at all")]),
    ),
    *(
        (
            "port-refused",
            Facts(events=[STARTED, ended("refused", f"The service refused the session: 80 ({code})")]),
        )
        for code in ("bad-port", "outside-networks", "excluded-address", "wrong-address")
    ),
    (
        "refused-by-service",
        Facts(events=[STARTED, ended("refused", "The service refused the certificate: x (gone)")]),
    ),
    ("jupyter-silent", Facts(events=[STARTED, ended("timeout", "Jupyter did not answer")])),
    ("closed", Facts(events=[STARTED, ended("application-exit", "Jupyter ended: exit code 0")])),
    (
        "jupyter-crashed",
        Facts(events=[STARTED, ended("application-exit", "Jupyter ended: exit code 1")]),
    ),
    (
        "killed",
        Facts(
            events=[STARTED, ended("application-exit", "Jupyter ended: killed by signal 9 (often)")]
        ),
    ),
    ("revoked", Facts(events=[STARTED, ended("revoked", "The service ended the session")])),
    (
        "cancelled",
        Facts(
            gone=gone(Outcome.CANCELLED),
            events=[STARTED, AWAY, BACK, ended("signal", "The job was asked to end")],
        ),
    ),
    ("cancelled", Facts(gone=gone(Outcome.CANCELLED))),
    ("cancelled", Facts(walltime=600, events=[STARTED, ended("signal", "asked to end")])),
    (
        "time-limit",
        Facts(walltime=600, events=[STARTED, ended("signal", "asked to end", time=560.0)]),
    ),
    ("allocation-over", Facts(inside=True, gone=gone(Outcome.COMPLETED), events=[STARTED])),
    ("allocation-over", Facts(inside=True, gone=FAILED, events=[STARTED, ended("signal", "asked")])),
    (
        "no-directory",
        Facts(inside=True, gone=FAILED, events=[ended("start-failed", "The notebook directory")]),
    ),
    ("cancelled", Facts(inside=True, gone=gone(Outcome.ENDED), events=[ended("signal", "asked")])),
    (
        "time-limit",
        Facts(inside=True, walltime=600, gone=FAILED, events=[STARTED, ended("signal", "asked", time=560.0)]),
    ),
    ("proxy-unreachable", Facts(gone=gone(Outcome.ENDED), events=[STARTED, AWAY])),
    ("disk-full", Facts(gone=FAILED, events=[STARTED], log=["OSError: Disk quota exceeded"])),
    ("script-failed", Facts(gone=gone(Outcome.COMPLETED), log=["hello"])),
    ("unclear", Facts(gone=gone(Outcome.ENDED), events=[STARTED])),
]  # fmt: skip


@pytest.mark.parametrize(
    ("cause", "facts"), ENDS, ids=[f"{n}-{c}" for n, (c, _) in enumerate(ENDS)]
)
def test_the_end_of_a_session_has_a_cause(cause: str, facts: Facts) -> None:
    assert why.cause_of_the_end(facts) == cause
    assert cause in causes.OVER


def test_a_log_is_only_believed_where_nobody_says_better() -> None:
    """A notebook's server prints what its users do: the words alone prove nothing."""
    chatter = ["No module named 'jupyter'", "rps: the module x could not be loaded", "MemoryError"]
    closed = ended("application-exit", "Jupyter ended: exit code 0")
    assert why.cause_of_the_end(Facts(events=[STARTED, closed], log=chatter)) == "closed"
    cancelled = Facts(gone=gone(Outcome.CANCELLED), events=[STARTED], log=chatter)
    assert why.cause_of_the_end(cancelled) == "cancelled"


def test_of_a_line_without_an_end_only_its_beginning_is_read() -> None:
    """Looked at whole, one of 64 KiB takes a quarter of a minute."""
    mark = "slurmstepd: error: Detected 1 oom_kill event"
    assert why.cause_of_the_end(Facts(log=[mark + "slurmstepd" * 6500])) == "out-of-memory"
    assert why.cause_of_the_end(Facts(log=["slurmstepd" * 6500 + mark])) == "unclear"


LIFE: list[tuple[str, str, JobStatus, list[dict[str, Any]]]] = [
    ("priority", "pending", Known(phase=JobPhase.PENDING, cause="priority"), []),
    ("waiting", "pending", Known(phase=JobPhase.PENDING), []),
    ("starting", "starting", Known(phase=JobPhase.RUNNING), [STARTED]),
    ("proxy-unreachable", "starting", Known(phase=JobPhase.RUNNING), [STARTED, AWAY]),
    ("starting", "starting", Known(phase=JobPhase.RUNNING), [STARTED, AWAY, BACK]),
    ("proxy-unreachable", "lapsed", Known(phase=JobPhase.RUNNING), [STARTED, AWAY]),
    ("lapsed", "lapsed", Known(phase=JobPhase.RUNNING), [STARTED]),
    ("ready", "ready", Unknown(reason="x", cause="scheduler-away"), [STARTED]),
    ("scheduler-away", "unknown", Unknown(reason="x", cause="scheduler-away"), []),
    ("unknown", "unknown", Unknown(reason="x"), []),
    ("service-away", "unknown", Known(phase=JobPhase.RUNNING), [STARTED]),
]


@pytest.mark.parametrize(("cause", "state", "status", "events"), LIFE)
def test_a_session_that_lives_has_a_cause_too(
    cause: str, state: str, status: JobStatus, events: list[dict[str, Any]]
) -> None:
    assert why.cause_of_the_state(state, status, Facts(events=events)) == cause
    assert cause in {**causes.LIVING, **causes.OVER}


def test_every_cause_is_on_the_page_and_says_what_it_means() -> None:
    page = (Path(__file__).parents[2] / "docs/sessions.md").read_text()
    told = set(
        re.findall(r"`([a-z-]+)`", page[page.index("## Causes") : page.index("## At a service")])
    )
    assert told == set(causes.OVER) | set(causes.LIVING)
    for cause in (*causes.OVER.values(), *causes.LIVING.values()):
        for text in filter(None, (cause.sentence, cause.advice)):
            assert re.fullmatch(r"[A-Z`].*[.)]", text), text
            assert len(re.findall(r"\bask for\b", text, re.IGNORECASE)) < 2, text
    assert causes.cause_of("of a later version", over=True) is causes.OVER["unclear"]


def test_the_lines_that_speak_for_it_are_shown_with_their_source() -> None:
    facts = Facts(
        events=[STARTED, ended("start-failed", "Jupyter ended before it answered: exit code 1")],
        log=["", "Traceback", "ImportError: libffi.so.6"],
        testimony=[Evidence(source="sacct", line="7 State=FAILED")],
    )
    assert [(one.source, one.line) for one in why.evidence("jupyter-failed", facts)] == [
        ("sacct", "7 State=FAILED"),
        ("agent", "ended: Jupyter ended before it answered: exit code 1"),
        ("job.log", "Traceback"),
        ("job.log", "ImportError: libffi.so.6"),
    ]


def test_the_schedulers_own_advice_goes_before_the_general_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from rps_core.inquiry import Answer, print_answer
    from rps_core.session import Session

    held = Session(
        record=RECORD, state="pending", reason="you hold it back", url=None, cause="held",
        advice="`scontrol release 7` lets it go.",
    )  # fmt: skip
    answer = Answer(held, "held", ())
    assert answer.as_json()["advice"] == "`scontrol release 7` lets it go."
    print_answer(answer)
    assert "What to do: `scontrol release 7` lets it go.\n" in capsys.readouterr().out
    assert Answer(replace(held, advice=None), "held", ()).advice == causes.WAITING["held"].advice


def test_the_commands_of_the_advice_are_about_this_session() -> None:
    """Without a name they are about the one that lives, and there may be another."""

    def advice(word: str, *, over: bool) -> str:
        return causes.advice_for(word, "one-two-three", over=over)

    assert "`rps open one-two-three` opens it, `rps url one-two-three`" in advice(
        "ready", over=False
    )
    assert "(`rps stop one-two-three`)" in advice("never", over=False)
    assert "`rps logs one-two-three` shows all" in advice("script-failed", over=True)
    # What is in the way is another one.
    for over in (False, True):
        assert "one-two-three" not in advice("queue-limit", over=over)
    assert advice("stopped", over=True) == causes.OVER["stopped"].advice


@pytest.fixture
def session(tmp_path: Path) -> tuple[Store, Record]:
    """One that runs, as far as its record tells."""
    store = Store(tmp_path / "home/.local/state/rps/sessions")
    store.directory.mkdir(parents=True, mode=0o700)
    record = Record(
        name="one-two-three", tag="rps:one-two-three:0", cluster="generic", site="generic",
        scheduler="slurm", url="https://one-two-three.example.org/", own_service=False, app="lab",
        endpoint=Endpoint(host="manage.example.org", port=443), directory="/", walltime=60,
        created=0.0, job_id="7",
    )  # fmt: skip
    files = store.create(record, Secrets("claim", "token"))
    (files.directory / "claim.json").unlink()  # as an agent does at its end
    files.log_file.write_text("rps: the module no-such/1.0 could not be loaded\n")
    return store, record


def test_the_cause_is_recorded_with_the_end_and_listed_and_explained(
    session: tuple[Store, Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rps_core.cli import rps
    from rps_core.plugins import Site

    store, record = session
    shown = settle(record, gone(Outcome.FAILED, "squeue says FAILED"), None, store)
    assert (shown.state, shown.cause) == ("failed", "no-module")
    assert shown.reason == "a module could not be loaded (squeue says FAILED)"
    assert store.load(record.name).cause == "no-module"

    listed = CliRunner().invoke(rps, ["list"], catch_exceptions=False).output
    assert re.search(r"one-two-three +failed +no-module ", listed)
    monkeypatch.setattr(
        Site, "testimony", lambda *_: [Evidence(source="sacct", line="7 State=FAILED")]
    )
    words = ["why", "one", "--cluster", "generic"]
    told = CliRunner().invoke(rps, words, catch_exceptions=False).output
    assert told.startswith("one-two-three failed: no-module\n(a module could not be loaded")
    assert "  sacct       7 State=FAILED\n" in told
    assert "  job.log     rps: the module no-such/1.0 could not be loaded\n" in told
    assert "What to do: `module avail`" in told
    found = json.loads(CliRunner().invoke(rps, [*words, "--json"], catch_exceptions=False).output)
    assert found["cause"] == "no-module"
    assert found["evidence"][0] == {"source": "sacct", "line": "7 State=FAILED"}
    # Without a name it is the last that ended; on another cluster the scheduler is not asked for it.
    told = CliRunner().invoke(rps, ["why", "--cluster", "comet"], catch_exceptions=False).output
    assert "its job was on generic" in told
