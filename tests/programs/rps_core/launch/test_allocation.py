"""Steps in an existing allocation, started and ended as real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from rps_core.errors import SchedulerError
from rps_core.jobs import Job
from rps_core.models import Allocation, SessionSpec
from rps_core.node.agent.processes import start_ticks
from rps_core.schedulers.pbs import steps as torque_steps
from rps_core.schedulers.slurm import steps as slurm_steps
from tests.stands.waiting import until

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


def test_srun_gets_no_variable_of_this_shells_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test that srun does not inherit options of the shell's own step."""
    text = f"env >{tmp_path}/env; echo $* >{tmp_path}/given; echo 77.1 >{tmp_path}/step-id"
    program(tmp_path, monkeypatch, "srun", text)
    monkeypatch.setenv("SLURM_CPU_BIND", "none")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    monkeypatch.setenv("SLURM_CONF_SERVER", "mgr")
    monkeypatch.setenv("RPS_CLUSTER", "generic")
    monkeypatch.setenv("LOADEDMODULES", "anaconda/3")
    assert slurm_steps.rps_start_step(spec(tmp_path), "77", tmp_path / "batch.sh")
    seen = (tmp_path / "env").read_text()
    assert "SLURM_CPU_BIND" not in seen
    assert "RPS_" not in seen
    assert "SLURM_CONF=/etc/slurm/slurm.conf" in seen
    assert "SLURM_CONF_SERVER=mgr" in seen
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
        pid = int((tmp_path / name).read_text())
        until(lambda pid=pid: start_ticks(pid) is None, f"the end of the {name} process")  # type: ignore[misc]
    assert not (tmp_path / "step-ended").exists()


def test_a_refused_step_is_reported_in_sruns_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = "Unable to create step for job 77: Job/step already completing or completed"
    text = f"echo 'srun: ======\nsrun: No steps today.\nsrun: error: {refusal}' >&2; exit 1"
    program(tmp_path, monkeypatch, "srun", text)
    with pytest.raises(SchedulerError) as caught:
        slurm_steps.rps_start_step(spec(tmp_path), "77", tmp_path / "batch.sh")
    assert caught.value.message == (
        f"Could not start a step in the allocation 77:\n  No steps today.\n  {refusal}"
    )
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SchedulerError, match="`srun` is not on the PATH"):
        slurm_steps.rps_start_step(spec(tmp_path), "77", tmp_path / "batch.sh")


# ---------------------------------------------------------------- a process beside the shell of qsub -I


def test_beside_the_jobs_shell_it_is_in_its_session_and_deaf_to_a_hangup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test that Torque ends it by the process session, and a hangup does not."""
    program(tmp_path, monkeypatch, "batch.sh", "echo pid:$$; env; exec sleep 300")
    monkeypatch.setenv("RPS_CLUSTER", "generic-torque")
    monkeypatch.setenv("PBS_JOBID", "77.server")
    assert torque_steps.rps_current_job(dict(os.environ)) == "77.server"
    assert torque_steps.rps_start_step(spec(tmp_path), "77.server", tmp_path / "batch.sh")
    log = tmp_path / "job.log"
    until(lambda: log.exists() and "PATH=" in log.read_text(), "its environment")
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
