"""What is concluded from the service's and the scheduler's answers. Unknown ends nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rps_core import ending, paths, sessions
from rps_core.client import ServiceState
from rps_core.cluster import find
from rps_core.ending import settle
from rps_core.errors import SchedulerError, ServiceError
from rps_core.models import Gone, JobPhase, Known, Outcome, Unknown
from rps_core.record import Endpoint, Record, Secrets
from rps_core.sessions import inspect, judge, survey
from rps_core.shell import Finished, run
from rps_core.store import Store
from tests.unit.test_wording import RECORD

RUNNING = Known(phase=JobPhase.RUNNING)
PENDING = Known(phase=JobPhase.PENDING, reason="waiting for a free node")
UNKNOWN = Unknown(reason="slurmctld does not answer")
LIVE = ServiceState("ready", True, None)
ISSUED = ServiceState("linked", False, None)
LAPSED = ServiceState("ready", False, None)
GONE = ServiceState("gone", False, "revoked")


@pytest.mark.parametrize(
    ("status", "service", "agent_alive", "state", "reason"),
    [
        (RUNNING, LIVE, True, "ready", None),
        (UNKNOWN, LIVE, True, "ready", None),  # the service has seen it this minute
        (PENDING, LIVE, True, "ready", None),  # the scheduler's answer is older
        (PENDING, ISSUED, True, "pending", "waiting for a free node"),
        (PENDING, None, True, "pending", "waiting for a free node"),
        (RUNNING, ISSUED, True, "starting", None),
        (RUNNING, LAPSED, True, "lapsed", "the notebook's agent stopped renewing its route"),
        (Known(phase=JobPhase.SUSPENDED), LAPSED, True, "suspended", None),
        (Known(phase=JobPhase.COMPLETING), LAPSED, True, "ending", None),
        (RUNNING, GONE, True, "ending", "revoked"),
        (RUNNING, None, False, "ending", None),
        (RUNNING, None, True, "unknown", "the job runs, and the service does not answer"),
        (UNKNOWN, ISSUED, True, "unknown", "slurmctld does not answer"),
        (UNKNOWN, LAPSED, True, "unknown", "slurmctld does not answer"),
        (UNKNOWN, None, True, "unknown", "slurmctld does not answer"),
    ],
)
def test_state_and_reason(
    status: Known | Unknown,
    service: ServiceState | None,
    agent_alive: bool,
    state: str,
    reason: str | None,
) -> None:
    assert judge(status, service, agent_alive=agent_alive) == (state, reason)


def test_a_session_that_ends_says_why_before_the_scheduler_does(tmp_path: Path) -> None:
    """Its agent has noted that already."""
    store = Store(tmp_path)
    record = Record(
        name="one-two-three", tag="rps:one-two-three:0", cluster="comet", site="comet",
        scheduler="slurm", url="https://one-two-three.example.org/", own_service=False, app="lab",
        endpoint=Endpoint(host="manage.example.org", port=443), directory="/", walltime=60,
        created=0.0, job_id="7",
    )  # fmt: skip
    files = store.create(record, Secrets("claim", "token"))
    (files.directory / "claim.json").unlink()  # as an agent does at its end
    event = {"time": 1.0, "event": "ended", "cause": "start-failed", "reason": "no `jupyter`"}
    files.write("events.jsonl", json.dumps(event) + "\n")
    shown = inspect(record, UNKNOWN, None, store)
    assert (shown.state, shown.reason) == ("ending", "no `jupyter`")


def test_nothing_but_evidence_ends_a_session() -> None:
    services = [LIVE, ISSUED, LAPSED, GONE, None]
    statuses: list[Known | Unknown] = [
        RUNNING,
        PENDING,
        UNKNOWN,
        *(Known(phase=phase) for phase in JobPhase),
    ]
    states = {
        judge(status, service, agent_alive=alive)[0]
        for status in statuses
        for service in services
        for alive in (True, False)
    }
    assert states.isdisjoint({"ended", "failed"})


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (None, "it was cancelled (sacct says CANCELLED by root (uid 0))"),
        ("signal", "it was cancelled (sacct says CANCELLED by root (uid 0))"),
        ("application-exit", "what the agent said"),
    ],
)
def test_a_cancelled_job_is_said_to_be_in_plain_words(
    cause: str | None, reason: str, tmp_path: Path
) -> None:
    """The agent knows only that it was asked to end; where it ended for a reason of its own, that counts."""
    store = Store(tmp_path)
    record = Record(
        name="one-two-three", tag="rps:one-two-three:0", cluster="comet", site="comet",
        scheduler="slurm", url="https://one-two-three.example.org/", own_service=False, app="lab",
        endpoint=Endpoint(host="manage.example.org", port=443), directory="/", walltime=60,
        created=0.0, job_id="7",
    )  # fmt: skip
    files = store.create(record, Secrets("claim", "token"))
    (files.directory / "claim.json").unlink()  # as an agent does at its end
    if cause:
        event = {"time": 1.0, "event": "ended", "cause": cause, "reason": "what the agent said"}
        files.write("events.jsonl", json.dumps(event) + "\n")
    gone = Gone(outcome=Outcome.CANCELLED, evidence="sacct says CANCELLED by root (uid 0)")
    shown = settle(record, gone, None, store)
    assert (shown.state, shown.reason) == ("ended", reason)
    assert store.load(record.name).reason == reason


def test_the_scheduler_is_asked_once_for_a_hundred_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a service that does not answer is not waited for a hundred times."""
    store = Store(tmp_path)
    waits: list[str] = []

    class Silent:
        def state(self, name: str, _claim: str) -> ServiceState:
            waits.append(name)
            raise ServiceError("the service does not answer", transient=True)

    monkeypatch.setattr(sessions, "client_of", lambda *_: Silent())
    records = [
        replace(RECORD, name=f"one-two-{number}", tag=f"rps:one-two-{number}:0", job_id=str(number))
        for number in range(1, 101)
    ]
    for record in records:
        store.create(record, Secrets("claim", "token"))
    asked: list[str] = []

    def shell(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        del stdin, timeout
        asked.append(argv[0])
        fields = ((str(one), "PENDING", "N/A", "30:00", "", "Priority") for one in range(1, 101))
        return Finished(argv, 0, "".join("\x1f".join(one) + "\x1e" for one in fields), "")

    found = survey(records, find("comet"), store, shell)
    assert asked == ["squeue"]
    assert {session.state for session in found} == {"pending"}
    assert len(waits) == 1


def test_of_all_that_are_to_be_stopped_each_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that could not be, with their reasons, and those that were."""
    from click.testing import CliRunner

    from rps_core.cli import rps

    store = Store(paths.sessions_dir())
    store.directory.mkdir(parents=True)
    for number, elsewhere in enumerate(("tscc", "comet", "stratus")):
        store.create(
            replace(RECORD, name=f"one-two-{number}", cluster=elsewhere, created=float(number)),
            Secrets("claim", "token"),
        )
    monkeypatch.setattr(ending, "revoke", lambda *_: True)
    monkeypatch.setattr(ending, "end_job", lambda *_: None)
    done = CliRunner().invoke(rps, ["stop", "--all", "--cluster", "comet"])
    assert "one-two-1: stopped with rps stop\n" in done.stderr
    assert "rps: one-two-0: its route is closed, but its job is on tscc\nRun `rps " in done.stderr
    assert "one-two-2: its route is closed, but its job is on stratus" in str(done.exception)


def stop_in_vain(store: Store, monkeypatch: pytest.MonkeyPatch, *, revoked: bool) -> None:
    """`rps stop`, with a scheduler that does not answer."""

    def away(*_: object) -> None:
        raise SchedulerError("scancel does not answer", transient=True)

    monkeypatch.setattr(ending, "revoke", lambda *_: revoked)
    monkeypatch.setattr(ending, "end_job", away)
    with pytest.raises(SchedulerError):
        ending.stop(RECORD, find("comet"), store, run)


@pytest.mark.parametrize("said", ["revoked", "refused"])
def test_a_stop_whose_job_could_not_be_ended_is_still_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """The route is closed, so the agent ends, and knows of a service that said no."""
    store = Store(tmp_path)
    files = store.create(RECORD, Secrets("claim", "token"))
    stop_in_vain(store, monkeypatch, revoked=True)
    event = {
        "time": 2.0,
        "event": "ended",
        "cause": said,
        "reason": "The service ended the session",
    }
    (files.directory / "events.jsonl").write_text(json.dumps(event) + "\n")
    gone = Gone(outcome=Outcome.FAILED, evidence="sacct says FAILED")
    shown = settle(RECORD, gone, None, store)
    assert (shown.state, shown.cause, shown.reason) == ("ended", "stopped", ending.STOPPED)


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.COMPLETED, Outcome.ENDED])
def test_who_looks_while_a_session_is_being_stopped_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: Outcome
) -> None:
    """Its job may be gone well before `rps stop` is done: a view that follows it looks in between."""
    store = Store(tmp_path)
    files = store.create(RECORD, Secrets("claim", "token"))
    monkeypatch.setattr(ending, "revoke", lambda *_: True)
    event = {"time": 2.0, "event": "ended", "cause": "signal", "reason": "The job was asked to end"}
    seen = []

    def look(*_: object) -> None:
        if outcome is not Outcome.ENDED:  # of that one the agent says nothing
            (files.directory / "events.jsonl").write_text(json.dumps(event) + "\n")
        seen.append(settle(RECORD, Gone(outcome=outcome, evidence="squeue says so"), None, store))

    monkeypatch.setattr(ending, "end_job", look)
    stopped = ending.stop(RECORD, find("comet"), store, run)
    for shown in (*seen, stopped):
        assert (shown.state, shown.cause, shown.reason) == ("ended", "stopped", ending.STOPPED)


def test_a_stop_that_changed_nothing_leaves_no_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session goes on; whoever cancels it later is not its user's `rps stop`."""
    store = Store(tmp_path)
    files = store.create(RECORD, Secrets("claim", "token"))
    stop_in_vain(store, monkeypatch, revoked=False)
    shown = settle(RECORD, Gone(outcome=Outcome.CANCELLED, evidence="squeue"), None, store)
    assert (files.stop_note.exists(), shown.cause) == (False, "cancelled")
