"""PBS Pro and OpenPBS, against what OpenPBS 23.06 answered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rps_core.account import login_name
from rps_core.errors import SchedulerError
from rps_core.models import Gone, Job, JobPhase, JobStatus, Known, Outcome, Submission, Unknown
from rps_core.schedulers import pbs
from rps_core.schedulers.torque_directives import job_name
from rps_core.schedulers.torque_states import status_of
from rps_core.testing import MISSING, TIMEOUT, Answer, RecordedShell, Reply, SchedulerContract
from tests.contract.transcripts import read

QSTAT = read("openpbs/qstat.txt")
QSUB = read("openpbs/qsub.txt")
ID = "37.tscc-mgr7.local"
QSELECT = ("qselect", "-u", login_name())


class TestPbs(SchedulerContract):
    scheduler = "pbs"
    job_id = ID
    prompt = "#PBS "
    refused = QSUB["bad queue"].answer


def job(job_id: str) -> Job:
    return Job(id=job_id, tag="rps:a-b-c:00000000", session_dir=Path("/nowhere"))


def status(title: str) -> JobStatus:
    recorded = QSTAT[title]
    job_id = recorded.command.split(";")[0].split()[-1]
    shell = RecordedShell({f"qstat -xf {job_id}": recorded.answer})
    return pbs.rps_poll([job(job_id)], shell)[job_id]


@pytest.mark.parametrize(
    ("title", "phase", "reason", "raw"),
    [
        (
            "state Q",
            JobPhase.PENDING,
            "its queue is stopped: no job of it starts until an administrator allows",
            "Not Running: Queue not started.",
        ),
        (
            "state Q_never",
            JobPhase.PENDING,
            "it can never run as it was asked for",
            "Can Never Run: Insufficient amount of resource: ncpus (R: 999 A: 4 T: 4)",
        ),
        ("state H", JobPhase.PENDING, "it is held by you", None),
        ("state W", JobPhase.PENDING, "it waits for its start time", None),
        ("state R", JobPhase.RUNNING, None, None),
        ("state R, unfolded", JobPhase.RUNNING, None, None),
        ("state E", JobPhase.COMPLETING, "the job ends, its node is cleaned up", None),
    ],
)
def test_states(title: str, phase: JobPhase, reason: str | None, raw: str | None) -> None:
    found = status(title)
    assert isinstance(found, Known)
    assert (found.phase, found.reason, found.raw_reason) == (phase, reason, raw)


def test_a_running_job_has_its_node_and_the_time_that_is_left() -> None:
    found = status("state R, unfolded")
    assert isinstance(found, Known)
    assert found.node == "tscc-5-1.local"
    assert found.time_left == timedelta(minutes=30) - timedelta(seconds=11)


@pytest.mark.parametrize(
    ("title", "outcome", "told"),
    [
        ("state F", Outcome.FAILED, "exit status 3"),
        ("walltime exceeded", Outcome.TIMEOUT, "exceeded resource walltime"),
        ("deleted while running", Outcome.CANCELLED, "terminated by tuser@tscc-mgr7.local"),
        ("deleted while queued", Outcome.CANCELLED, "deleted before it started"),
        ("missing output directory", Outcome.COMPLETED, "exit status 0"),
    ],
)
def test_ends(title: str, outcome: Outcome, told: str) -> None:
    found = status(title)
    assert isinstance(found, Gone)
    assert found.outcome is outcome
    assert told in found.evidence


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (-24, Outcome.FAILED),
        (-26, Outcome.OUT_OF_MEMORY),
        (-27, Outcome.OUT_OF_MEMORY),
        (-28, Outcome.FAILED),
        (-29, Outcome.TIMEOUT),
        (265, Outcome.FAILED),
        (271, Outcome.CANCELLED),
    ],
)
def test_exit_statuses(code: int, outcome: Outcome) -> None:
    found = status_of({"job_state": "F", "exec_host": "n1/0", "Exit_status": str(code)})
    assert isinstance(found, Gone)
    assert found.outcome is outcome


@pytest.mark.parametrize("state", ["M", "X", "B", "U"])
def test_states_of_arrays_and_of_other_servers_are_unknown(state: str) -> None:
    assert isinstance(status_of({"job_state": state}), Unknown)


def test_one_call_for_all_in_spite_of_one_that_is_unknown() -> None:
    """OpenPBS with several ids: what is known on stdout, what is not on stderr, and exit code 153."""
    ids = [ID, "33.tscc-mgr7.local", "999999"]
    printed = QSTAT["state R"].answer.stdout + QSTAT["state Q"].answer.stdout
    answer = Answer(153, printed, QSTAT["unknown"].answer.stderr)
    shell = RecordedShell({("qstat", "-xf", *ids): answer, QSELECT: MISSING})
    found = pbs.rps_poll([job(job_id) for job_id in ids], shell)
    assert len(shell.calls) == 2
    assert isinstance(found[ID], Known)
    assert isinstance(found["33.tscc-mgr7.local"], Known)
    assert not isinstance(found["999999"], Known)


def test_json_would_have_shown_the_first_job_alone() -> None:
    """Why it is not asked for: two ids, one job."""
    recorded = QSTAT["two json"]
    assert recorded.command.endswith("37.tscc-mgr7.local 33.tscc-mgr7.local")
    assert recorded.answer.code == 0
    assert '"33.tscc-mgr7.local"' not in recorded.answer.stdout


def test_without_history_it_is_asked_for_what_is_there() -> None:
    shell = RecordedShell(
        {
            f"qstat -xf {ID}": Answer(36, "", "qstat: job_history_enable is set to false\n"),
            f"qstat -f {ID}": QSTAT["state R"].answer,
        }
    )
    assert isinstance(pbs.rps_poll([job(ID)], shell)[ID], Known)


@pytest.mark.parametrize("title", ["server down: qstat", "wrong host"])
def test_a_server_that_is_ill_makes_unknown(title: str) -> None:
    shell = RecordedShell({f"qstat -xf {ID}": QSTAT[title].answer})
    assert isinstance(pbs.rps_poll([job(ID)], shell)[ID], Unknown)


@pytest.mark.parametrize(
    ("title", "hint"),
    [
        ("bad queue", "qstat -q"),
        ("disabled queue", "-p"),
        ("restricted", "-p"),
        ("walltime above max", "-t"),
        ("bad walltime", "--dry-run"),
        ("unknown resource", "--dry-run"),
        ("limit 2", "as many jobs"),
        ("nonexistent", "cannot be read"),
        ("dos", "cannot be read"),
        ("name space", "--dry-run"),
        ("unknown option", "--dry-run"),
    ],
)
def test_a_refusal_has_its_reason_and_a_hint(title: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(SchedulerError) as caught:
        submit(tmp_path, QSUB[title].answer)
    assert "\n" not in caught.value.message
    assert hint in caught.value.hint
    assert not caught.value.transient


def submit(directory: Path, answer: Reply, **found: Reply) -> str:
    spec = TestPbs().spec(directory)
    name = job_name(spec.name)
    command = (
        "qsub",
        "-N",
        name,
        "-r",
        "n",
        "-j",
        "oe",
        "-o",
        f"{directory}/spool.log",
        f"{directory}/batch.sh",
    )
    shell = RecordedShell(
        {
            command: answer,
            f"qselect -x -u {login_name()} -N {name}": found.get("history", Answer()),
            f"qselect -u {login_name()} -N {name}": found.get("current", Answer()),
        }
    )
    return pbs.rps_submit(spec, directory / "batch.sh", shell)


def test_submitting(tmp_path: Path) -> None:
    assert submit(tmp_path, QSUB["OK"].answer) == "1.tscc-mgr7.local"
    assert submit(tmp_path, TIMEOUT, history=Answer(0, f"{ID}\n")) == ID
    assert submit(tmp_path, TIMEOUT, history=Answer(36), current=Answer(0, f"{ID}\n")) == ID
    with pytest.raises(SchedulerError, match="there is no such job"):
        submit(tmp_path, TIMEOUT)
    with pytest.raises(SchedulerError, match="could not be looked up"):
        submit(tmp_path, TIMEOUT, history=TIMEOUT)


def test_a_job_whose_launcher_was_killed_is_found_by_its_name_ended_or_not() -> None:
    looked_for = Submission(
        name="a-b-c", tag="rps:a-b-c:00000000", session_dir=Path("/nowhere"),
        since=datetime(2026, 11, 22, 18, 0, tzinfo=UTC),
    )  # fmt: skip
    selected = f"qselect -x -u {login_name()} -N {job_name(looked_for.name)}"
    for answer, found in (Answer(0, f"{ID}\n"), {looked_for.tag: ID}), (Answer(), {}):
        assert pbs.rps_find_jobs([looked_for], RecordedShell({selected: answer})) == found
    with pytest.raises(SchedulerError):
        pbs.rps_find_jobs([looked_for], RecordedShell({selected: TIMEOUT}))


@pytest.mark.parametrize(
    ("title", "there"),
    [
        ("qdel queued", True),
        ("qdel running", True),
        ("qdel finished", False),
        ("qdel unknown", False),
        ("state E: qdel", False),
    ],
)
def test_cancelling(title: str, there: bool) -> None:
    recorded = QSTAT[title]
    shell = RecordedShell({recorded.command: recorded.answer})
    assert pbs.rps_cancel(job(recorded.command.split()[-1]), shell) is there


@pytest.mark.parametrize(
    ("title", "transient"), [("qdel foreign", False), ("server down: qdel", True)]
)
def test_what_cannot_be_ended_is_told(title: str, transient: bool) -> None:
    recorded = QSTAT[title]
    shell = RecordedShell({recorded.command: recorded.answer})
    with pytest.raises(SchedulerError) as caught:
        pbs.rps_cancel(job(recorded.command.split()[-1]), shell)
    assert caught.value.transient is transient


def test_nothing_but_an_id_reaches_qdel() -> None:
    with pytest.raises(SchedulerError, match="no id"):
        pbs.rps_cancel(job("all"), RecordedShell({}))
