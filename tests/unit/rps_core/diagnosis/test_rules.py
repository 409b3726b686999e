"""Each cause, recognised in recorded output of schedulers, agents and logs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rps_core.diagnosis import causes
from rps_core.diagnosis import rules as why
from rps_core.diagnosis.rules import Facts
from rps_core.hooks.manager import Plugins
from rps_core.jobs import Evidence, Gone, JobPhase, JobStatus, Known, Outcome, Unknown
from rps_core.models import Cluster
from rps_core.sessions.end import settle
from rps_core.state.record import Endpoint, Secrets, SessionRecord
from rps_core.state.store import Store
from rps_core.traits import LogCause
from tests.stands.record import RECORD

# What the schedulers' plugins say of their own messages.
LOG_CAUSES = [
    cause
    for scheduler in ("slurm", "torque")
    for cause in Plugins.load()
    .site(Cluster(name="x", site="generic", scheduler=scheduler))
    .log_causes()
]
STARTED = {"time": 1.0, "event": "started"}
AWAY = {"time": 2.0, "event": "service-away", "reason": "Connection refused"}
BACK = {"time": 3.0, "event": "service-back"}
UNREACHED = {
    "time": 4.0,
    "event": "unreachable",
    "reason": "The service cannot connect to 10.0.0.9:4",
}
READY = {"time": 5.0, "event": "ready"}


def ended(cause: str, reason: str, **more: Any) -> dict[str, Any]:
    return {"time": 9.0, "event": "ended", "cause": cause, "reason": reason} | more


def gone(outcome: Outcome, evidence: str = "squeue shows so") -> Gone:
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
        "application-failed",
        Facts(
            gone=FAILED,
            events=[STARTED, ended("start-failed", "The application x ended before it answered: exit code 1",
                                   log="ModuleNotFoundError: No module named 'mine'")],
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
        Facts(events=[STARTED, ended("start-failed", "The notebook directory /x does not exist")]),
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
    (
        "node-unreachable",
        Facts(events=[STARTED, UNREACHED, ended("unreachable", "The service cannot connect to 10.0.0.9:4")]),
    ),
    *(
        ("not-started", Facts(events=[STARTED, ended("start-failed", reason)]))
        for reason in (
            "This node has no address of ib0 (proxy.node_address), but only: lo 127.0.0.1",
            "The port range is [9, 1]; it must be two numbers from 1 to 65535, the smaller first",
            "Neither /tmp nor /var/tmp is a place for the kernels' sockets",
            "Permission denied (/home/alice/.local/state/rps/sessions/x/run)",
        )
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
    ("script-failed", Facts(gone=gone(Outcome.ENDED), log=[])),
    ("no-log", Facts(gone=FAILED, log=None, script_began=False)),
    ("no-log", Facts(gone=gone(Outcome.ENDED), log=None, script_began=False)),
    ("empty-log", Facts(gone=gone(Outcome.COMPLETED), log=["", " "], script_began=False)),
    ("before-the-script", Facts(gone=FAILED, log=["Welcome!"], script_began=False)),
    ("files-unseen", Facts(gone=FAILED, log=["rps: /a/s is not yours on this node"], script_began=False)),
    ("unclear", Facts(gone=gone(Outcome.ENDED), events=[STARTED], log=None)),
    ("unclear", Facts(gone=gone(Outcome.ENDED), events=[STARTED])),
]  # fmt: skip


@pytest.mark.parametrize(
    ("cause", "facts"), ENDS, ids=[f"{n}-{c}" for n, (c, _) in enumerate(ENDS)]
)
def test_the_end_of_a_session_has_a_cause(cause: str, facts: Facts) -> None:
    assert why.cause_of_the_end(replace(facts, scheduler_log=LOG_CAUSES)) == cause
    assert cause in causes.OVER


def test_a_log_shows_what_its_own_scheduler_writes() -> None:
    """A notebook may print the words of any other scheduler."""
    killed = Facts(events=[STARTED], log=["=>> PBS: job killed: walltime 27 exceeded limit 5"])
    assert why.cause_of_the_end(killed) == "unclear"
    toy = [LogCause(cause="preempted", pattern="^PBS: job killed")]
    assert why.cause_of_the_end(replace(killed, scheduler_log=toy)) == "unclear"
    assert (
        why.cause_of_the_end(replace(killed, log=["PBS: job killed"], scheduler_log=toy))
        == "preempted"
    )


def test_the_causes_that_schedulers_name_exist() -> None:
    assert {cause.cause for cause in LOG_CAUSES} <= set(causes.OVER)
    with pytest.raises(ValueError, match="pattern"):
        LogCause(cause="preempted", pattern="(")


def test_a_log_counts_only_without_better_evidence() -> None:
    """A notebook's server prints what its users do: the words alone prove nothing."""
    chatter = ["No module named 'jupyter'", "rps: the module x could not be loaded", "MemoryError"]
    closed = ended("application-exit", "Jupyter ended: exit code 0")
    assert why.cause_of_the_end(Facts(events=[STARTED, closed], log=chatter)) == "closed"
    cancelled = Facts(gone=gone(Outcome.CANCELLED), events=[STARTED], log=chatter)
    assert why.cause_of_the_end(cancelled) == "cancelled"


def test_of_a_line_without_an_end_only_its_beginning_is_read() -> None:
    """Looked at whole, one of 64 KiB takes a quarter of a minute."""
    mark = "slurmstepd: error: Detected 1 oom_kill event"
    facts = Facts(log=[mark + "slurmstepd" * 6500], scheduler_log=LOG_CAUSES)
    assert why.cause_of_the_end(facts) == "out-of-memory"
    assert why.cause_of_the_end(replace(facts, log=["slurmstepd" * 6500 + mark])) == "unclear"


LIFE: list[tuple[str, str, JobStatus, list[dict[str, Any]]]] = [
    ("priority", "pending", Known(phase=JobPhase.PENDING, cause="priority"), []),
    ("waiting", "pending", Known(phase=JobPhase.PENDING), []),
    ("starting", "starting", Known(phase=JobPhase.RUNNING), [STARTED]),
    ("proxy-unreachable", "starting", Known(phase=JobPhase.RUNNING), [STARTED, AWAY]),
    ("starting", "starting", Known(phase=JobPhase.RUNNING), [STARTED, AWAY, BACK]),
    ("node-unreachable", "starting", Known(phase=JobPhase.RUNNING), [STARTED, UNREACHED]),
    ("starting", "starting", Known(phase=JobPhase.RUNNING), [STARTED, UNREACHED, READY]),
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
    page = (Path(__file__).parents[4] / "docs/sessions.md").read_text()
    messages = set(
        re.findall(r"`([a-z-]+)`", page[page.index("## Causes") : page.index("## At a satellite")])
    )
    assert messages == set(causes.OVER) | set(causes.LIVING)
    for cause in (*causes.OVER.values(), *causes.LIVING.values()):
        for text in filter(None, (cause.sentence, cause.advice)):
            assert re.fullmatch(r"[A-Z`].*[.)]", text), text
            assert len(re.findall(r"\bask for\b", text, re.IGNORECASE)) < 2, text
    assert causes.meaning_of("of a later version", over=True) is causes.OVER["unclear"]


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
    from rps_core.display.explanation import print_explanation
    from rps_core.sessions.explain import Explanation
    from rps_core.sessions.session import SessionView

    held = SessionView(
        record=RECORD, state="pending", reason="you hold it", url=None, cause="held",
        advice="`scontrol release 7` releases it.",
    )  # fmt: skip
    answer = Explanation(held, "held", ())
    assert answer.as_json()["advice"] == "`scontrol release 7` releases it."
    print_explanation(answer)
    assert "What to do: `scontrol release 7` releases it.\n" in capsys.readouterr().out
    assert (
        Explanation(replace(held, advice=None), "held", ()).advice == causes.WAITING["held"].advice
    )


def test_the_commands_of_the_advice_are_about_this_session() -> None:
    """Test the session's name in commands: without it they use the running one."""

    def advice(word: str, *, over: bool) -> str:
        return causes.advice_for(word, "one-two-three", over=over)

    assert "`rps open one-two-three` opens it, `rps url one-two-three`" in advice(
        "ready", over=False
    )
    assert "(`rps stop one-two-three`)" in advice("never", over=False)
    assert "`rps logs one-two-three` prints all" in advice("script-failed", over=True)
    # Another session is the obstacle.
    for over in (False, True):
        assert "one-two-three" not in advice("queue-limit", over=over)
    assert advice("stopped", over=True) == causes.OVER["stopped"].advice


@pytest.fixture
def session(tmp_path: Path) -> tuple[Store, SessionRecord]:
    """Make a session that runs, by its record."""
    store = Store(tmp_path / "home/.local/state/rps/sessions")
    store.directory.mkdir(parents=True, mode=0o700)
    record = SessionRecord(
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
    session: tuple[Store, SessionRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rps_core.cli.main import rps
    from rps_core.hooks.site import Site

    store, record = session
    shown = settle(record, gone(Outcome.FAILED, "squeue says FAILED"), None, store)
    assert (shown.state, shown.cause) == ("failed", "no-module")
    assert shown.reason == "a module could not be loaded (squeue says FAILED)"
    assert store.load(record.name).cause == "no-module"

    listed = CliRunner().invoke(rps, ["list"], catch_exceptions=False).output
    assert re.search(r"one-two-three +failed +no-module ", listed)
    monkeypatch.setattr(
        Site, "job_details", lambda *_: [Evidence(source="sacct", line="7 State=FAILED")]
    )
    words = ["why", "one", "--cluster", "generic"]
    messages = CliRunner().invoke(rps, words, catch_exceptions=False).output
    assert messages.startswith("one-two-three failed: no-module\n(a module could not be loaded")
    assert "  sacct       7 State=FAILED\n" in messages
    assert "  job.log     rps: the module no-such/1.0 could not be loaded\n" in messages
    assert "What to do: `module avail`" in messages
    found = json.loads(CliRunner().invoke(rps, [*words, "--json"], catch_exceptions=False).output)
    assert found["cause"] == "no-module"
    assert found["evidence"][0] == {"source": "sacct", "line": "7 State=FAILED"}
    # Without a name it is the last that ended; on another cluster the scheduler is not asked for it.
    messages = CliRunner().invoke(rps, ["why", "--cluster", "comet"], catch_exceptions=False).output
    assert "its job was on generic" in messages
