"""A session in an allocation that the user holds: what is found, refused, started and ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rps_core import ending, held, sessions
from rps_core.errors import SchedulerError, UsageError
from rps_core.models import (
    Allocation,
    Gone,
    Job,
    JobPhase,
    JobStatus,
    Known,
    Outcome,
    SessionSpec,
    Unknown,
)
from rps_core.node.agent.processes import start_ticks
from rps_core.record import Endpoint, Record, Secrets
from rps_core.schedulers import slurm_steps, torque_steps
from rps_core.store import Store
from rps_core.testing import Answer, RecordedShell, every_command

RUNNING = Known(phase=JobPhase.RUNNING, node="n1", time_left=timedelta(minutes=9))
RECORD = Record(
    name="one-two-three", tag="rps:one-two-three:1", cluster="generic", site="generic",
    scheduler="slurm", url="https://one-two-three.example.org/",
    endpoint=Endpoint(host="manage.example.org", port=443), own_service=False, app="lab",
    directory="/", walltime=540, created=1.0, job_id="77", inside=True,
)  # fmt: skip


class Site:
    """Answers as told, and notes what was ended."""

    def __init__(self, status: JobStatus, job_id: str | None = "77") -> None:
        self.cluster = SimpleNamespace(name="generic")
        self.status = status
        self.job_id = job_id
        self.ended: list[str] = []

    def held_job(self, environment: object) -> str | None:
        return self.job_id

    def poll(self, jobs: list[Job], shell: object) -> dict[str, JobStatus]:
        return {job.id: self.status for job in jobs}

    def end_step(self, job: Job, shell: object) -> bool:
        self.ended.append(f"step of {job.id}")
        return True

    def cancel(self, job: Job, shell: object) -> bool:
        self.ended.append(job.id)
        return True

    def session_ended(self, record: Record) -> None:
        pass


def here(site: Site) -> Any:
    settings = SimpleNamespace(proxy=SimpleNamespace(timeout=1.0), node_domain=None)
    return SimpleNamespace(site=site, loaded=SimpleNamespace(settings=settings))


shell = every_command(Answer())


def test_the_allocation_of_this_shell_with_its_time_left() -> None:
    found = held.allocation(here(Site(RUNNING)), [RECORD], shell)
    assert (found.job_id, found.time_left) == ("77", timedelta(minutes=9))
    endless = held.allocation(here(Site(replace(RUNNING, time_left=None))), [], shell)
    assert endless.time_left == timedelta(days=365)


@pytest.mark.parametrize(
    ("site", "told"),
    [
        (Site(RUNNING, None), "in no allocation of generic"),
        (Site(Known(phase=JobPhase.PENDING)), "77, which is pending"),
        (
            Site(Gone(outcome=Outcome.TIMEOUT, evidence="sacct: TIMEOUT")),
            r"over \(sacct: TIMEOUT\)",
        ),
        (Site(Unknown(reason="neither squeue nor sacct knows it")), "is not known: neither squeue"),
    ],
)
def test_what_is_no_allocation_to_start_in(site: Site, told: str) -> None:
    with pytest.raises((UsageError, SchedulerError), match=told):
        held.allocation(here(site), [], shell)


def test_within_a_session_none_is_started() -> None:
    with pytest.raises(UsageError, match="job of your session one-two-three"):
        held.allocation(here(Site(RUNNING)), [replace(RECORD, inside=False)], shell)


def test_options_of_a_job_are_refused() -> None:
    held.refuse_job_options({"notebook.app": "lab"})
    with pytest.raises(UsageError, match=r"`job\.gpus` cannot be chosen"):
        held.refuse_job_options({"notebook.app": "lab", "job.gpus": "1"})


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
    """How that went is the user's last command's affair; the agent may be killed before it says a word."""
    if agent == "asked":
        ended(store, "signal", "The job was asked to end")
        ending_now = Known(phase=JobPhase.COMPLETING)
        found = sessions.inspect(RECORD, ending_now, here(Site(ending_now)), store)
        assert found.state == "ending"
    gone = Gone(outcome=outcome, evidence="squeue says so")
    found = sessions.inspect(RECORD, gone, here(Site(gone)), store)
    assert (found.state, found.cause) == ("ended", "allocation-over")
    assert found.reason == "the allocation that it ran in has ended (squeue says so)"


def test_its_agent_has_ended_and_of_the_allocation_nothing_is_known(store: Store) -> None:
    ended(store, "application-ended", "")
    away = Unknown(reason="slurmctld does not answer", cause="scheduler-away")
    found = sessions.inspect(RECORD, away, here(Site(away)), store)
    assert (found.state, found.reason) == ("ended", "its agent ended")


def test_stopping_it_leaves_the_allocation(store: Store) -> None:
    site = Site(RUNNING)
    found = ending.stop(RECORD, here(site), store, shell)
    assert found.state == "ended"
    assert site.ended == ["step of 77"]


# ------------------------------------------------------------------------------ Slurm's step of a job


def spec(directory: Path) -> SessionSpec:
    return SessionSpec(
        name="one-two-three",
        tag="rps:one-two-three:1",
        app="lab",
        template=Path("/nowhere"),
        session_dir=directory,
        directory=directory,
        allocation=Allocation(walltime=timedelta(minutes=9)),
    )


def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
    (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_srun_is_told_nothing_of_this_shells_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its options would be those of the shell's own step."""
    text = f"env >{tmp_path}/env; echo $* >{tmp_path}/given; echo 77.1 >{tmp_path}/step-id"
    program(tmp_path, monkeypatch, "srun", text)
    monkeypatch.setenv("SLURM_CPU_BIND", "none")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    monkeypatch.setenv("RPS_CLUSTER", "generic")
    monkeypatch.setenv("LOADEDMODULES", "anaconda/3")
    assert slurm_steps.rps_start_step(spec(tmp_path), "77", tmp_path / "batch.sh")
    seen = (tmp_path / "env").read_text()
    assert "SLURM_CPU_BIND" not in seen
    assert "RPS_" not in seen
    assert "SLURM_CONF=/etc/slurm/slurm.conf" in seen
    assert "LOADEDMODULES=anaconda/3" in seen
    assert "--jobid=77 --overlap --nodes=1 --ntasks=1" in (tmp_path / "given").read_text()


def test_srun_is_ended_once_the_step_has_started_and_its_second_process_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one ends the step when the first one dies."""
    avenger = f"(while kill -0 $$; do sleep 0.01; done; touch {tmp_path}/step-ended) 2>/dev/null &"
    text = f"{avenger}\necho $! >{tmp_path}/second; echo $$ >{tmp_path}/first\n"
    text += f"echo 77.1 >{tmp_path}/step-id; wait"
    program(tmp_path, monkeypatch, "srun", text)
    assert slurm_steps.rps_start_step(spec(tmp_path), "77", tmp_path / "batch.sh")
    for name in ("first", "second"):  # KILL has been sent; its effect may take a moment
        deadline = time.monotonic() + 60
        while start_ticks(int((tmp_path / name).read_text())) is not None:
            assert time.monotonic() < deadline, name
            time.sleep(0.01)
    assert not (tmp_path / "step-ended").exists()


def test_a_refused_step_is_told_in_sruns_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "srun: error: Unable to create step for job 77: Job/step already completing or completed"
    program(tmp_path, monkeypatch, "srun", f"echo '{said}' >&2; exit 1")
    with pytest.raises(SchedulerError, match="already completing or completed"):
        slurm_steps.rps_start_step(spec(tmp_path), "77", tmp_path / "batch.sh")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SchedulerError, match="`srun` is not on the PATH"):
        slurm_steps.rps_start_step(spec(tmp_path), "77", tmp_path / "batch.sh")


def test_only_a_step_of_the_allocation_is_ended(tmp_path: Path) -> None:
    job = Job(id="77", tag="t", session_dir=tmp_path)
    assert slurm_steps.rps_end_step(job, shell) is False  # it was never started
    (tmp_path / "step-id").write_text("77.3\n")
    told = RecordedShell({("scancel", "--verbose", "--signal=TERM", "77.3"): Answer()})
    assert slurm_steps.rps_end_step(job, told) is True
    for wrong in ("77", "78.3", "77.3 78", "77.3\n78.1"):
        (tmp_path / "step-id").write_text(wrong)
        with pytest.raises(SchedulerError, match="damaged"):
            slurm_steps.rps_end_step(job, told)


# ---------------------------------------------------------------- a process beside the shell of qsub -I


def test_beside_the_jobs_shell_it_is_in_its_session_and_deaf_to_a_hangup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its session Torque ends it with the job; the terminal's end is not its own."""
    program(tmp_path, monkeypatch, "batch.sh", "echo pid:$$; env; exec sleep 300")
    monkeypatch.setenv("RPS_CLUSTER", "generic-torque")
    monkeypatch.setenv("PBS_JOBID", "77.server")
    assert torque_steps.rps_held_job(dict(os.environ)) == "77.server"
    assert torque_steps.rps_start_step(spec(tmp_path), "77.server", tmp_path / "batch.sh")
    log = tmp_path / "job.log"
    deadline = time.monotonic() + 60
    while not (log.exists() and "PATH=" in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    text = log.read_text()
    pid = int(text.partition("pid:")[2].split()[0])
    try:
        assert os.getsid(pid) == os.getsid(0)
        assert os.getpgid(pid) == pid
        ignored = int(
            Path(f"/proc/{pid}/status").read_text().partition("SigIgn:")[2].split()[0], 16
        )
        assert ignored & 1 << (signal.SIGHUP - 1)
        assert "PBS_JOBID=77.server" in text
        assert "RPS_CLUSTER" not in text
        job = Job(id="77.server", tag="t", session_dir=tmp_path)
        assert torque_steps.rps_end_step(job) is False  # its agent has said nothing yet
        event = {"event": "started", "time": 1.0, "pid": pid, "start_time": start_ticks(pid)}
        for node, ended in (("elsewhere", False), (os.uname().nodename, True)):
            line = json.dumps({**event, "node": node})
            (tmp_path / "events.jsonl").write_text(line + "\n")
            assert torque_steps.rps_end_step(job) is ended
        assert os.waitpid(pid, 0) == (pid, signal.SIGTERM)
    except BaseException:
        subprocess.run(["kill", "-KILL", str(pid)], check=False)
        raise
