"""Sessions whose job's id the scheduler has given to another job."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rps_core.errors import AnotherJobError
from rps_core.jobs import Gone, Job, JobPhase, JobStatus, Known, Outcome, Unknown
from rps_core.sessions import end as ending
from rps_core.sessions import status as sessions
from rps_core.sessions.end import Revocation
from rps_core.sessions.job import concluded
from rps_core.state.record import Secrets, SessionRecord
from rps_core.state.store import Store
from tests.stands.record import RECORD

OLD = replace(RECORD, created=time.time() - 3600, walltime=7200, job_id="7")
NEW = replace(OLD, created=time.time())


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the time at which NEW was created, however long the other tests took."""
    monkeypatch.setattr("rps_core.sessions.job.time", SimpleNamespace(time=lambda: NEW.created))


REUSED = Job(id="7", tag=OLD.tag, session_dir=Path("/"), name="n").replaced(
    "my-simulation", "alice"
)


class Site:
    """A scheduler in which the id 7 is the job of one session, or of none."""

    def __init__(self, whose: str = "my-simulation") -> None:
        self.cluster = SimpleNamespace(name=RECORD.cluster)
        self.whose = whose
        self.polls: list[list[str]] = []
        self.ended: list[SessionRecord] = []

    def identity(self, _shell: object) -> str | None:
        return None

    def job_name(self, session: str) -> str:
        return f"rps-{session}"

    def poll(self, jobs: Sequence[Job], _shell: object) -> Mapping[str, JobStatus]:
        self.polls.append([job.name for job in jobs])
        return {
            job.id: Known(phase=JobPhase.RUNNING)
            if job.is_shown_as(name=self.whose)
            else job.replaced(self.whose, "alice")
            for job in jobs
        }

    def cancel(self, job: Job, _shell: object) -> bool:
        raise AnotherJobError(job.replaced(self.whose, "alice").reason)

    def log_causes(self) -> list[Any]:
        return []

    def session_ended(self, record: SessionRecord) -> None:
        self.ended.append(record)


def here(site: Site) -> Any:
    return SimpleNamespace(
        site=site, shell=None, loaded=SimpleNamespace(settings=SimpleNamespace(node_domain=None))
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "sessions")
    found.probe()
    return found


def with_events(store: Store, record: SessionRecord, **events: float) -> Job:
    """Return the session's job, whose agent has written these events, so many seconds ago."""
    files = store.create(record, Secrets("claim", "token"))
    lines = [
        json.dumps({"event": event, "time": NEW.created - ago, "reason": "it was shut down"})
        for event, ago in events.items()
    ]
    files.write("events.jsonl", "".join(f"{line}\n" for line in lines))
    job = files.job(record, f"rps-{record.name}")
    assert job is not None
    return job


@pytest.mark.parametrize("record", [OLD, NEW], ids=["old", "new"])
@pytest.mark.parametrize(
    "status", [Known(phase=JobPhase.RUNNING), Unknown(reason="away", cause="scheduler-away")]
)
def test_any_other_status_stays(status: JobStatus, record: SessionRecord, store: Store) -> None:
    assert concluded(record, with_events(store, record), status) is status


def test_a_job_that_never_started_is_lost(store: Store) -> None:
    found = concluded(OLD, with_events(store, OLD), REUSED)
    assert found == Gone(
        outcome=Outcome.FAILED,
        evidence="the scheduler has another job 'my-simulation' of alice with its id 7, and it had not "
        "started",
        cause="id-reused",
    )


def test_a_job_that_may_run_is_not_over(store: Store) -> None:
    """A node may run what its controller has lost; and its files may not be seen yet."""
    assert concluded(OLD, with_events(store, OLD, started=1800), REUSED) is REUSED
    other = replace(NEW, name="one-two-four", tag="rps:one-two-four:0")
    assert concluded(other, with_events(store, other), REUSED) is REUSED


def test_a_job_that_has_ended_says_how(store: Store) -> None:
    found = concluded(OLD, with_events(store, OLD, started=1800, ended=60), REUSED)
    assert isinstance(found, Gone)
    assert (found.outcome, found.cause) == (Outcome.ENDED, None)
    assert found.evidence.endswith("its agent reported its end: it was shut down")


def test_no_job_runs_much_longer_than_its_walltime(store: Store) -> None:
    found = concluded(OLD, with_events(store, OLD, started=7200 + 3700), REUSED)
    assert isinstance(found, Gone)
    assert (found.outcome, found.cause) == (Outcome.ENDED, "id-reused")


def test_the_session_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    client = SimpleNamespace(state=lambda *_: None, revoke=lambda *_: None)
    for module in (sessions, ending):
        monkeypatch.setattr(module, "client_of", lambda *_: client)
    with_events(store, OLD)
    (found,) = sessions.survey([OLD], here(Site()), store)
    assert (found.state, found.cause) == ("failed", "id-reused")
    assert "another job 'my-simulation' of alice" in str(found.reason)
    runs = replace(NEW, name="one-two-four", tag="rps:one-two-four:0")
    with_events(store, runs, started=10)
    (found,) = sessions.survey([runs], here(Site()), store)
    assert (found.state, found.cause) == ("unknown", "id-reused")


def test_two_sessions_with_one_id_are_each_their_own(store: Store) -> None:
    """Test a newer session whose job has the id now."""
    newer = replace(NEW, name="one-two-four", tag="rps:one-two-four:0")
    for record in (OLD, newer):
        with_events(store, record, started=10)
    site = Site("rps-one-two-four")
    found = sessions.poll([OLD, newer], here(site), store)
    assert found == {newer.name: Known(phase=JobPhase.RUNNING), OLD.name: found[OLD.name]}
    assert isinstance(found[OLD.name], Unknown)
    assert sorted(name for names in site.polls for name in names) == [
        "rps-one-two-four",
        f"rps-{OLD.name}",
    ]


@pytest.mark.parametrize(
    ("record", "events", "revoked"),
    [(OLD, {"started": 10}, True), (NEW, {}, True), (OLD, {}, False)],
    ids=["its agent ends by itself", "it never starts", "it never started"],
)
def test_stop_ends_the_session_and_not_the_other_job(
    record: SessionRecord,
    events: dict[str, float],
    revoked: bool,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        ending, "revoke", lambda *_: Revocation.CLOSED if revoked else Revocation.FAILED
    )
    with_events(store, record, **events)
    site = Site()
    found = ending.stop(record, here(site), store)
    assert (found.state, found.cause) == ("ended", "id-reused")
    assert "another job 'my-simulation' of alice with its id 7" in str(found.reason)
    assert [one.name for one in site.ended] == [record.name]


def test_what_may_run_with_an_open_route_is_not_stopped(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test a stop that ends neither job nor route: the session stays."""
    monkeypatch.setattr(ending, "revoke", lambda *_: Revocation.FAILED)
    with_events(store, OLD, started=10)
    with pytest.raises(AnotherJobError) as caught:
        ending.stop(OLD, here(Site()), store)
    assert caught.value.exit_code == 5
    assert store.load(OLD.name).ended is None
    assert not store.files(OLD.name).stop_note.exists()
