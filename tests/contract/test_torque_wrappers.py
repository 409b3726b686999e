"""Slurm's own qsub, qstat and qdel: the same commands, and other answers."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from rps_core.errors import SchedulerError
from rps_core.jobs import Gone, Job, JobPhase, JobStatus, Known, Outcome, Unknown
from rps_core.schedulers.pbs import identity, torque
from rps_core.schedulers.pbs.directives import job_name
from rps_core.system.user import login_name
from rps_core.testing import MISSING, TIMEOUT, Answer, RecordedShell, Reply, SchedulerContract
from tests.contract.own_jobs import LATER
from tests.contract.transcripts import read

WRAPPERS = read("torque/slurm-wrappers.txt")
NO_XML = WRAPPERS["qstat -x 11"].answer
QSELECT = ("qselect", "-u", login_name())


class TestWrappers(SchedulerContract):
    scheduler = "torque"
    job_id = "11"
    prompt = "#PBS "
    refused = WRAPPERS["qsub -q nosuch p.sh"].answer
    another_job: ClassVar = {
        "qstat": replace(NO_XML, stdout=WRAPPERS["qstat -f -1 11"].answer.stdout),
    }
    canceller = "qdel"


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be the user of the recordings."""
    monkeypatch.setattr(identity, "login_name", lambda: "alice")


def job(job_id: str, directory: Path) -> Job:
    return Job(id=job_id, tag="rps:a-b-c:00000000", session_dir=directory, joined=LATER)


def poll(directory: Path, answer: Reply, *job_ids: str) -> dict[str, JobStatus]:
    asked = " ".join(job_ids)
    shell = RecordedShell({f"qstat -f -1 {asked}": answer, QSELECT: MISSING})
    return dict(torque.rps_poll([job(job_id, directory) for job_id in job_ids], shell))


def test_they_are_recognised_by_their_ids_which_have_no_server(tmp_path: Path) -> None:
    """Test that each command detects them again: each has its own shell."""
    for _ in range(2):
        shell = RecordedShell({"qstat -f -1 11": WRAPPERS["qstat -f -1 11"].answer})
        torque.rps_poll([job("11", tmp_path)], shell)
    torques = RecordedShell({"qstat -x 11.mgr": NO_XML, "qstat -f -1 11.mgr": Answer()})
    torque.rps_poll([job("11.mgr", tmp_path)], torques)
    assert [call[1] for call in torques.calls] == ["-x", "-f"], "a server's name, and no XML"


def test_states(tmp_path: Path) -> None:
    ids = ("11", "12", "13", "16")
    printed = WRAPPERS["qstat -f -1 11"].answer.stdout + "".join(
        WRAPPERS[f"qstat -f {number}"].answer.stdout for number in ids[1:]
    )
    found = poll(tmp_path, Answer(0, printed), *ids)
    assert found["11"] == Known(phase=JobPhase.RUNNING, node="comet-14-01")
    assert found["12"] == Known(phase=JobPhase.PENDING, reason="it waits for its turn")
    assert found["13"] == Gone(
        outcome=Outcome.ENDED, evidence="qstat shows it in state C, without an exit status"
    )
    assert found["16"] == Gone(
        outcome=Outcome.OUT_OF_MEMORY, evidence="Slurm's qstat shows it in state U"
    )


def test_the_walltime_shows_in_when_it_began_and_ended(tmp_path: Path) -> None:
    found = poll(tmp_path, WRAPPERS["qstat -f 17"].answer, "17")["17"]
    assert isinstance(found, Gone)
    assert found.outcome is Outcome.TIMEOUT


@pytest.mark.parametrize("mixed", [True, False])
def test_what_is_not_in_the_list_is_denied(mixed: bool, tmp_path: Path) -> None:
    script = tmp_path / "batch.sh"
    script.write_text("#!/bin/sh\n")
    os.utime(script, (time.time() - 600, time.time() - 600))
    if mixed:
        found = poll(tmp_path, WRAPPERS["qstat -f -1 11"].answer, "11", "999999")
        assert isinstance(found["11"], Known)
    else:
        found = poll(tmp_path, WRAPPERS["qstat -f 999999"].answer, "999999")
    assert isinstance(found["999999"], Gone), "it never started, and Slurm has forgotten it"


@pytest.mark.parametrize("answer", [WRAPPERS["controller down: qstat"].answer, Answer(0, "", "")])
def test_a_controller_that_is_down_makes_unknown(answer: Reply, tmp_path: Path) -> None:
    assert isinstance(poll(tmp_path, answer, "11")["11"], Unknown)


def test_a_qstat_that_hangs_is_an_error_that_makes_unknown(tmp_path: Path) -> None:
    with pytest.raises(SchedulerError) as caught:
        poll(tmp_path, TIMEOUT, "11")
    assert caught.value.transient


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("qsub -q nosuch p.sh", "invalid partition specified: nosuch"),
        ("qsub -A nosuch p.sh", "Invalid account"),
        ("qsub -q debug -l walltime=00:31:00 p.sh", "Requested time limit is invalid"),
        ("qsub -l walltime=abc p.sh", "Invalid time limit specified"),
        ("qsub -Z x p.sh", "Unknown option: Z"),
    ],
)
def test_sbatchs_own_message_is_shown(title: str, text: str, tmp_path: Path) -> None:
    spec = TestWrappers().spec(tmp_path)
    options = ("-N", job_name(spec.name), "-r", "n", "-j", "oe", "-o", f"{tmp_path}/spool.log")
    command = ("qsub", *options, f"{tmp_path}/batch.sh")
    shell = RecordedShell({command: WRAPPERS[title].answer})
    with pytest.raises(SchedulerError) as caught:
        torque.rps_submit(spec, tmp_path / "batch.sh", shell)
    assert text in caught.value.message
    assert "The command was" not in caught.value.message


def cancel(title: str, state: Reply | None = None) -> bool:
    """`state` is qstat's answer; by default the job runs."""
    job_id = title.split()[-1]
    runs = WRAPPERS["qstat -f -1 11"].answer
    runs = replace(runs, stdout=runs.stdout.replace("\t11\n", f"\t{job_id}\n"))
    shell = RecordedShell(
        {
            title: WRAPPERS[title].answer,
            f"qstat -x {job_id}": NO_XML,
            f"qstat -f -1 {job_id}": state or runs,
        }
    )
    return torque.rps_cancel(job(job_id, Path("/nowhere")), shell)


def test_cancelling() -> None:
    assert cancel("qdel 11") is True
    assert cancel("qdel 13", WRAPPERS["qstat -f 13"].answer) is False
    assert cancel("qdel 999999", WRAPPERS["qstat -f 999999"].answer) is False
    with pytest.raises(SchedulerError, match="Access/permission denied"):
        cancel("qdel 18")


@pytest.mark.parametrize("state", ["controller down: qstat", "qstat -f -1 11"])
def test_a_qdel_that_fails_without_a_word_is_no_proof(state: str) -> None:
    printed = WRAPPERS[state].answer
    still_there = Answer(printed.code, printed.stdout.replace("\t11\n", "\t13\n"), printed.stderr)
    with pytest.raises(SchedulerError, match=r"no message|owner could not be found out"):
        cancel("qdel 13", still_there)
