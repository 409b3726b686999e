"""A session in an existing allocation: detection, refusals, start and end."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rps_core.config.settings import Overrides
from rps_core.errors import SchedulerError, UsageError
from rps_core.jobs import Gone, Job, JobPhase, JobStatus, Known, Outcome, Unknown
from rps_core.launch import allocation as held
from rps_core.schedulers.slurm import commands as slurm_commands
from rps_core.schedulers.slurm import steps as slurm_steps
from rps_core.sessions import end as ending
from rps_core.sessions import status as sessions
from rps_core.state.record import Endpoint, Secrets, SessionRecord
from rps_core.state.store import Store
from rps_core.testing import Answer, RecordedShell, every_command
from rps_core.traits import JobTraits, LogCause

RUNNING = Known(phase=JobPhase.RUNNING, node="n1", time_left=timedelta(minutes=9))
RECORD = SessionRecord(
    name="one-two-three", tag="rps:one-two-three:1", cluster="generic", site="generic",
    scheduler="slurm", url="https://one-two-three.example.org/",
    endpoint=Endpoint(host="manage.example.org", port=443), own_service=False, app="lab",
    directory="/", walltime=540, created=1.0, job_id="77", inside=True,
)  # fmt: skip


class Site:
    """A shell with fixed answers, which records the jobs that are ended."""

    def __init__(self, status: JobStatus, job_id: str | None = "77") -> None:
        self.cluster = SimpleNamespace(name="generic")
        self.schedulers = ("slurm",)
        self.status = status
        self.job_id = job_id
        self.ended: list[str] = []

    def job_traits(self) -> JobTraits:
        return JobTraits(job_id_variable="TOY_JOB", interactive_command="toyshell")

    def log_causes(self) -> list[LogCause]:
        return []

    def current_job(self, environment: object) -> str | None:
        return self.job_id

    def poll(self, jobs: list[Job], shell: object) -> dict[str, JobStatus]:
        return {job.id: self.status for job in jobs}

    def end_step(self, job: Job, shell: object) -> bool:
        self.ended.append(f"step of {job.id}")
        return True

    def cancel(self, job: Job, shell: object) -> bool:
        self.ended.append(job.id)
        return True

    def job_name(self, session: str) -> str:
        return f"rps-{session}"

    def session_ended(self, record: SessionRecord) -> None:
        pass


def here(site: Site) -> Any:
    settings = SimpleNamespace(proxy=SimpleNamespace(timeout=1.0), node_domain=None)
    return SimpleNamespace(
        site=site, loaded=SimpleNamespace(settings=settings), shell=every_command(Answer())
    )


shell = every_command(Answer())


def test_the_allocation_of_this_shell_with_its_time_left() -> None:
    found = held.allocation(here(Site(RUNNING)), [RECORD])
    assert (found.job_id, found.time_left) == ("77", timedelta(minutes=9))
    endless = held.allocation(here(Site(replace(RUNNING, time_left=None))), [])
    assert endless.time_left == timedelta(days=365)


@pytest.mark.parametrize(
    ("site", "message"),
    [
        (Site(RUNNING, None), "not in an allocation of generic"),
        (Site(Known(phase=JobPhase.PENDING)), "allocation 77 is pending"),
        (
            Site(Gone(outcome=Outcome.TIMEOUT, evidence="sacct: TIMEOUT")),
            r"has ended \(sacct: TIMEOUT\)",
        ),
        (
            Site(Unknown(reason="neither squeue nor sacct lists the job")),
            "Could not query the allocation 77: neither squeue",
        ),
    ],
)
def test_what_is_no_allocation_to_start_in(site: Site, message: str) -> None:
    with pytest.raises((UsageError, SchedulerError), match=message):
        held.allocation(here(site), [])


def test_the_hint_names_what_gives_an_allocation_here() -> None:
    with pytest.raises(UsageError) as caught:
        held.allocation(here(Site(RUNNING, None)), [])
    assert "in the shell of an allocation (`toyshell`)" in caught.value.hint


def test_within_a_session_none_is_started() -> None:
    with pytest.raises(UsageError, match="job of your session one-two-three"):
        held.allocation(here(Site(RUNNING)), [replace(RECORD, inside=False)])


def test_options_of_a_job_are_refused() -> None:
    held.refuse_job_options(
        Overrides(options={"notebook.app": "lab"}, assignments=["proxy.port=4"])
    )
    given = Overrides(
        options={"notebook.app": "lab", "job.gpus": "1"}, flags={"job.gpus": "--gpus"}
    )
    with pytest.raises(UsageError, match="--gpus has no effect"):
        held.refuse_job_options(given)
    for text in ("job.gpus=1", "job={gpus: 1}"):
        with pytest.raises(UsageError, match=r"--set job.* has no effect"):
            held.refuse_job_options(Overrides(assignments=[text]))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    away = SimpleNamespace(live=False, phase="gone", reason="its agent ended it", transient=False)
    client = SimpleNamespace(state=lambda *_: away, revoke=lambda *_: None)
    monkeypatch.setattr(sessions, "client_of", lambda *_: client)
    found = Store(tmp_path / "sessions")
    found.probe()
    found.create(RECORD, Secrets("claim", "token"))
    return found


def ended(store: Store, cause: str, reason: str) -> None:
    event = {"event": "ended", "time": 2.0, "cause": cause, "reason": reason}
    (store.files(RECORD.name).directory / "events.jsonl").write_text(json.dumps(event) + "\n")


def test_it_is_over_with_its_agent_though_the_allocation_goes_on(store: Store) -> None:
    ended(store, "application-ended", "It was shut down")
    found = sessions.inspect(RECORD, RUNNING, here(Site(RUNNING)), store)
    assert (found.state, found.reason) == ("ended", "It was shut down")


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.FAILED])
@pytest.mark.parametrize("agent", ["silent", "asked"])
def test_it_is_over_with_the_allocation(store: Store, outcome: Outcome, agent: str) -> None:
    """Test that the allocation's exit code is no evidence: it is the last command's."""
    if agent == "asked":
        ended(store, "signal", "The job was asked to end")
        ending_now = Known(phase=JobPhase.COMPLETING)
        found = sessions.inspect(RECORD, ending_now, here(Site(ending_now)), store)
        assert found.state == "ending"
    gone = Gone(outcome=outcome, evidence="squeue shows so")
    found = sessions.inspect(RECORD, gone, here(Site(gone)), store)
    assert (found.state, found.cause) == ("ended", "allocation-over")
    assert found.reason == "its allocation has ended (squeue shows so)"


def test_its_agent_has_ended_and_of_the_allocation_nothing_is_known(store: Store) -> None:
    ended(store, "application-ended", "")
    away = Unknown(reason="slurmctld does not answer", cause="scheduler-away")
    found = sessions.inspect(RECORD, away, here(Site(away)), store)
    assert (found.state, found.reason) == ("ended", "its agent ended")


def test_stopping_it_leaves_the_allocation(store: Store) -> None:
    site = Site(RUNNING)
    found = ending.stop(RECORD, here(site), store)
    assert found.state == "ended"
    assert site.ended == ["step of 77"]


def test_only_a_step_of_the_allocation_is_ended(tmp_path: Path) -> None:
    """Test ids that began again: another job has a step of this id."""
    session = tmp_path / "one-two-three"
    session.mkdir()
    job = Job(id="77", tag="t", session_dir=session)
    assert slurm_steps.rps_end_step(job, shell) is False  # it was never started
    (session / "step-id").write_text("77.3\n")
    question = tuple(slurm_commands.step("77.3"))
    cancel = ("scancel", "--verbose", "--signal=TERM", "77.3")
    message = RecordedShell({question: Answer(0, "rps-one-two-three\x1e\n"), cancel: Answer()})
    assert slurm_steps.rps_end_step(job, message) is True
    for other in ("my-step\x1e\n", "rps-one-two-four\x1e\n", "", "rps-one-two-three"):
        message = RecordedShell({question: Answer(0, other)})
        assert slurm_steps.rps_end_step(job, message) is False
    for wrong in ("77", "78.3", "77.3 78", "77.3\n78.1"):
        (session / "step-id").write_text(wrong)
        with pytest.raises(SchedulerError, match="contains no step"):
            slurm_steps.rps_end_step(job, message)
