"""Jobs that Torque forgot: what counts as evidence, and what does not."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from rps_core.jobs import Gone, Job, JobStatus, Outcome, Unknown
from rps_core.schedulers.pbs import torque
from rps_core.schedulers.pbs.forgotten import conclude
from rps_core.system.user import login_name
from rps_core.testing import MISSING, TIMEOUT, Answer, RecordedShell, Reply
from tests.contract.transcripts import read

QSTAT = read("torque/qstat.txt")
DENIED = QSTAT["unknown id -x"]
ID = DENIED.command.split()[-1]
QSELECT = ("qselect", "-u", login_name())
HOUR = 3600


class Session:
    """The directory of a session whose job was submitted some time ago."""

    def __init__(self, directory: Path, age: float = 2 * HOUR, walltime: int = 8 * HOUR) -> None:
        self.directory = directory
        script = directory / "batch.sh"
        script.write_text("#!/bin/sh\n")
        os.utime(script, (time.time() - age, time.time() - age))
        (directory / "launch.json").write_text(json.dumps({"walltime": walltime}))

    def event(self, name: str, *, ago: float = HOUR, **more: object) -> None:
        with (self.directory / "events.jsonl").open("a") as stream:
            stream.write(json.dumps({"time": time.time() - ago, "event": name, **more}) + "\n")

    @property
    def job(self) -> Job:
        return Job(id=ID, tag="rps:a-b-c:00000000", session_dir=self.directory)

    def poll(self, second: Reply = MISSING) -> JobStatus:
        shell = RecordedShell({DENIED.command: DENIED.answer, QSELECT: second})
        return torque.rps_poll([self.job], shell)[ID]


def test_the_agents_own_word_is_evidence(tmp_path: Path) -> None:
    session = Session(tmp_path, age=5)
    session.event("started")
    session.event("ended", cause="application-exit", reason="Jupyter ended", exit_code=3)
    assert session.poll() == Gone(
        outcome=Outcome.ENDED,
        evidence=f"the server no longer knows job {ID}, and its agent reported its end: Jupyter ended",
        exit_code=3,
    )


def test_a_second_denial_is_evidence(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.event("started")
    found = session.poll(QSTAT["qselect -u"].answer)
    assert isinstance(found, Gone)
    assert "qselect does not list it" in found.evidence


@pytest.mark.parametrize(
    "second", [TIMEOUT, MISSING, Answer(111, "", "Connection refused"), Answer(2, "", "usage")]
)
def test_one_denial_of_a_job_that_ran_is_none(second: Reply, tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.event("started")
    found = session.poll(second)
    assert isinstance(found, Unknown)
    assert "it counts as ended from" in found.reason, "it says how long this may last"


def test_a_server_with_another_name_is_found_out(tmp_path: Path) -> None:
    number = ID.partition(".")[0]
    session = Session(tmp_path)
    session.event("started")
    found = session.poll(Answer(0, f"{number}.tscc-mgr8.local\n"))
    assert isinstance(found, Unknown)
    assert "tscc-mgr8" in found.reason


def test_no_job_outlives_its_walltime(tmp_path: Path) -> None:
    session = Session(tmp_path, age=10 * HOUR)
    session.event("started", ago=9 * HOUR)
    found = session.poll()
    assert isinstance(found, Gone)
    assert "walltime" in found.evidence


def test_what_torque_wrote_into_the_output_is_evidence(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.event("started")
    (tmp_path / "spool.log").write_text("=>> PBS: job killed: walltime 27 exceeded limit 5\n")
    found = session.poll()
    assert isinstance(found, Gone)
    assert found.outcome is Outcome.TIMEOUT


def test_a_job_that_never_started_and_is_denied_is_over(tmp_path: Path) -> None:
    found = Session(tmp_path).poll()
    assert isinstance(found, Gone)
    assert "it never started" in found.evidence


@pytest.mark.parametrize("second", [MISSING, Answer(0, "")])
def test_nothing_is_concluded_right_after_the_submission(second: Reply, tmp_path: Path) -> None:
    found = Session(tmp_path, age=3).poll(second)
    assert isinstance(found, Unknown)
    assert "moments ago" in found.reason


def test_nfs_may_show_the_agents_file_late(tmp_path: Path) -> None:
    assert isinstance(Session(tmp_path, age=60).poll(), Unknown)


@pytest.mark.parametrize("events", ["", "{", "[]\n3\nnull\n", '{"event": "started"}\n'])
@pytest.mark.parametrize("launch", ["", "{}", '{"walltime": null}', "[]"])
def test_files_that_are_broken_end_nothing(events: str, launch: str, tmp_path: Path) -> None:
    session = Session(tmp_path, age=60)
    (tmp_path / "events.jsonl").write_text(events)
    (tmp_path / "launch.json").write_text(launch)
    assert isinstance(conclude(session.job, None), Unknown)


def test_one_question_for_all_that_were_forgotten(tmp_path: Path) -> None:
    ids = ["1.s", "2.s", "3.s"]
    jobs = []
    for job_id in ids:
        (tmp_path / job_id).mkdir()
        Session(tmp_path / job_id)
        jobs.append(Job(id=job_id, tag="", session_dir=tmp_path / job_id))
    said = "".join(f"qstat: Unknown Job Id Error {job_id}\n" for job_id in ids)
    shell = RecordedShell({("qstat", "-x", *ids): Answer(153, "", said), QSELECT: Answer()})
    found = torque.rps_poll(jobs, shell)
    assert len(shell.calls) == 2
    assert all(isinstance(status, Gone) for status in found.values())
