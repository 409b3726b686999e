"""A session's state from the service's and scheduler's answers.

Unknown ends nothing.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rps_core.cluster import find
from rps_core.errors import SchedulerError, ServiceError
from rps_core.jobs import Gone, JobPhase, Known, Outcome, Unknown
from rps_core.proxy_client.models import ServiceState
from rps_core.sessions import end as ending
from rps_core.sessions import status as sessions
from rps_core.sessions.end import Revocation, settle
from rps_core.sessions.states import LeasedRoute
from rps_core.sessions.status import inspect, survey
from rps_core.state.record import Endpoint, Secrets, SessionRecord
from rps_core.state.store import Store
from rps_core.system import paths
from rps_core.system.shell import Finished
from tests.stands.record import RECORD

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
        (RUNNING, None, True, "unknown", "the job is running, but the service does not answer"),
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
    assert LeasedRoute().judge(status, service, [], agent_alive=agent_alive) == (state, reason)


def test_a_session_that_ends_says_why_before_the_scheduler_does(tmp_path: Path) -> None:
    """Test a reason that the agent has recorded already."""
    store = Store(tmp_path)
    record = SessionRecord(
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
        LeasedRoute().judge(status, service, [], agent_alive=alive)[0]
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
def test_a_cancelled_job_is_reported_in_plain_words(
    cause: str | None, reason: str, tmp_path: Path
) -> None:
    """Test a cancelled job.

    The agent knows only the signal, unless it ended by itself.
    """
    store = Store(tmp_path)
    record = SessionRecord(
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
    """Test that a missing answer of the service costs one timeout, not a hundred."""
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
        fields = (
            (str(one), "PENDING", "N/A", "30:00", "", "Priority", f"rps-one-two-{one}", "", "")
            for one in range(1, 101)
        )
        return Finished(argv, 0, "".join("\x1f".join(one) + "\x1e" for one in fields), "")

    found = survey(records, replace(find("comet"), shell=shell), store)
    assert asked == ["squeue"]
    assert {session.state for session in found} == {"pending"}
    assert len(waits) == 1


def test_each_session_that_is_stopped_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test that failed stops are reported with reasons, and the others too."""
    from click.testing import CliRunner

    from rps_core.cli.main import rps

    store = Store(paths.sessions_dir())
    store.directory.mkdir(parents=True)
    for number, elsewhere in enumerate(("tscc", "comet", "stratus")):
        store.create(
            replace(RECORD, name=f"one-two-{number}", cluster=elsewhere, created=float(number)),
            Secrets("claim", "token"),
        )
    monkeypatch.setattr(ending, "revoke", lambda *_: Revocation.CLOSED)
    monkeypatch.setattr(ending, "end_job", lambda *_: None)
    done = CliRunner().invoke(rps, ["stop", "--all", "--cluster", "comet"])
    assert "one-two-1: stopped with rps stop\n" in done.stderr
    assert (
        "rps: one-two-0 was not stopped: its job is on tscc: ask there, or with --cluster tscc\nRun `rps "
        in done.stderr
    )
    assert "one-two-2 was not stopped: its job is on stratus" in str(done.exception)
    assert [record.name for record in store.records() if record.ended is None] == [
        "one-two-0",
        "one-two-2",
    ]


def stop_in_vain(store: Store, monkeypatch: pytest.MonkeyPatch, *, revoked: bool) -> None:
    """`rps stop`, with a scheduler that does not answer."""

    def away(*_: object) -> None:
        raise SchedulerError("scancel does not answer", transient=True)

    closed = Revocation.CLOSED if revoked else Revocation.FAILED
    monkeypatch.setattr(ending, "revoke", lambda *_: closed)
    monkeypatch.setattr(ending, "end_job", away)
    with pytest.raises(SchedulerError):
        ending.stop(RECORD, find("comet"), store)


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
def test_a_session_that_is_being_stopped_is_shown_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: Outcome
) -> None:
    """Test a view during `rps stop`: the job may have gone before the stop is done."""
    store = Store(tmp_path)
    files = store.create(RECORD, Secrets("claim", "token"))
    monkeypatch.setattr(ending, "revoke", lambda *_: Revocation.CLOSED)
    event = {"time": 2.0, "event": "ended", "cause": "signal", "reason": "The job was asked to end"}
    seen = []

    def look(*_: object) -> None:
        if outcome is not Outcome.ENDED:  # of that one the agent says nothing
            (files.directory / "events.jsonl").write_text(json.dumps(event) + "\n")
        seen.append(settle(RECORD, Gone(outcome=outcome, evidence="squeue shows so"), None, store))

    monkeypatch.setattr(ending, "end_job", look)
    stopped = ending.stop(RECORD, find("comet"), store)
    for shown in (*seen, stopped):
        assert (shown.state, shown.cause, shown.reason) == ("ended", "stopped", ending.STOPPED)


@pytest.mark.parametrize(
    ("protocol", "events", "code", "stays"),
    [
        ("satellite", ["redeemed", "ready"], "", True),  # away
        (
            "satellite",
            ["redeemed", "ready"],
            "wrong-address",
            False,
        ),  # the node's agent destroys it
        ("satellite", [], "", False),  # not redeemed: there is no route
        ("rps", ["ready"], "", False),  # the lease ends it
    ],
)
def test_a_stop_says_whether_the_route_may_stay(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
    events: list[str],
    code: str,
    stays: bool,
) -> None:
    class Refuses:
        def revoke(self, *_: object) -> None:
            raise ServiceError("no", code=code, transient=not code)

    store = Store(tmp_path)
    record = replace(RECORD, endpoint=replace(RECORD.endpoint, protocol=protocol))
    files = store.create(record, Secrets("claim", "token"))
    lines = [json.dumps({"time": 1.0, "event": event}) + "\n" for event in events]
    (files.directory / "events.jsonl").write_text("".join(lines))
    monkeypatch.setattr(ending, "client_of", lambda *_: Refuses())
    monkeypatch.setattr(ending, "end_job", lambda *_: None)
    stopped = ending.stop(record, find("comet"), store)
    assert stopped.reason is not None
    assert stopped.reason.startswith(ending.STOPPED)
    assert ("49 hours: do not open its URL again" in stopped.reason) == stays
    assert store.load(record.name).reason == stopped.reason


def test_a_stop_that_changed_nothing_leaves_no_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test a failed stop: a later cancel is not attributed to `rps stop`."""
    store = Store(tmp_path)
    files = store.create(RECORD, Secrets("claim", "token"))
    stop_in_vain(store, monkeypatch, revoked=False)
    shown = settle(RECORD, Gone(outcome=Outcome.CANCELLED, evidence="squeue"), None, store)
    assert (files.stop_note.exists(), shown.cause) == (False, "cancelled")
