"""PBS Pro and OpenPBS, against what OpenPBS 23.06 answered."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from rps_core.errors import AnotherJobError, SchedulerError
from rps_core.jobs import Gone, Job, JobPhase, JobStatus, Known, Outcome, Submission, Unknown
from rps_core.protocol import Cause
from rps_core.schedulers.pbs import identity
from rps_core.schedulers.pbs import pbspro as pbs
from rps_core.schedulers.pbs.directives import job_name
from rps_core.schedulers.pbs.states import status_of
from rps_core.system.user import login_name
from rps_core.testing import MISSING, TIMEOUT, Answer, RecordedShell, Reply, SchedulerContract
from tests.contract.own_jobs import LATER
from tests.contract.transcripts import read

QSTAT = read("openpbs/qstat.txt")
QSUB = read("openpbs/qsub.txt")
NO_HISTORY = read("openpbs/no-history.txt")
ID = "37.tscc-mgr7.local"
QSELECT = ("qselect", "-u", login_name())


class TestPbs(SchedulerContract):
    scheduler = "pbs"
    job_id = ID
    prompt = "#PBS "
    refused = QSUB["bad queue"].answer
    another_job: ClassVar = {"qstat": QSTAT["state R"].answer}
    canceller = "qdel"


def test_no_other_prefix_of_directives_reaches_qsub() -> None:
    variables = TestPbs().site().command_variables()
    assert variables is not None
    assert variables.applied({"PBS_DPREFIX": "#Q", "PBS_DEFAULT": "mgr"}) == {"PBS_DEFAULT": "mgr"}


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be the user of the recordings."""
    monkeypatch.setattr(identity, "login_name", lambda: "tuser")


def job(job_id: str) -> Job:
    return Job(id=job_id, tag="rps:a-b-c:00000000", session_dir=Path("/nowhere"), joined=LATER)


def status(title: str) -> JobStatus:
    """Poll a recorded answer.

    A live job's status is the same with and without history.
    """
    recorded = QSTAT[title]
    job_id = recorded.command.split(";")[0].split()[-1]
    first = recorded.answer
    if "job_state = F" in first.stdout:
        first = finished(job_id)
    shell = RecordedShell({f"qstat -f {job_id}": first, f"qstat -xf {job_id}": recorded.answer})
    return pbs.rps_poll([job(job_id)], shell)[job_id]


def finished(*job_ids: str) -> Answer:
    """Return the recorded answer of `qstat -f` to ids of jobs that are in the history alone."""
    recorded = NO_HISTORY["finished, with history: qstat -f"]
    line = recorded.answer.stderr
    known = recorded.command.split()[-1]
    return Answer(35, "", "".join(line.replace(known, job_id) for job_id in job_ids))


@pytest.mark.parametrize(
    ("title", "phase", "reason", "raw"),
    [
        (
            "state Q",
            JobPhase.PENDING,
            "its queue is stopped: none of its jobs starts until an administrator starts it",
            "Not Running: Queue not started.",
        ),
        (
            "state Q_never",
            JobPhase.PENDING,
            "it requests more of ncpus than there is; this job can never start",
            "Can Never Run: Insufficient amount of resource: ncpus (R: 999 A: 4 T: 4)",
        ),
        ("state H", JobPhase.PENDING, "it is held by you", None),
        ("state W", JobPhase.PENDING, "it waits for its start time", None),
        ("state R", JobPhase.RUNNING, None, None),
        ("state R, unfolded", JobPhase.RUNNING, None, None),
        ("state E", JobPhase.COMPLETING, "the job is ending, its node is being cleaned up", None),
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
    ("title", "outcome", "text"),
    [
        ("state F", Outcome.FAILED, "exit status 3"),
        ("walltime exceeded", Outcome.TIMEOUT, "exceeded resource walltime"),
        ("deleted while running", Outcome.CANCELLED, "terminated by tuser@tscc-mgr7.local"),
        ("deleted while queued", Outcome.CANCELLED, "deleted before it started"),
        ("missing output directory", Outcome.COMPLETED, "exit status 0"),
    ],
)
def test_ends(title: str, outcome: Outcome, text: str) -> None:
    found = status(title)
    assert isinstance(found, Gone)
    assert found.outcome is outcome
    assert text in found.evidence


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
    """Test OpenPBS with several ids.

    Known ones on stdout, others on stderr, exit code 153.
    """
    ids = [ID, "33.tscc-mgr7.local", "999999"]
    printed = QSTAT["state R"].answer.stdout + QSTAT["state Q"].answer.stdout
    answer = Answer(153, printed, QSTAT["unknown"].answer.stderr)
    shell = RecordedShell({("qstat", "-f", *ids): answer, QSELECT: MISSING})
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


def test_without_history_a_living_job_is_known_and_no_history_is_requested() -> None:
    shell = RecordedShell({f"qstat -f {ID}": QSTAT["state R"].answer})
    assert isinstance(pbs.rps_poll([job(ID)], shell)[ID], Known)
    assert shell.calls == [("qstat", "-f", ID)]


def test_without_history_a_job_that_ended_is_over() -> None:
    """Test an ended job: the server does not know it, and qselect does not list it."""
    unknown = QSTAT["unknown"]
    job_id = unknown.command.split()[-1]
    shell = RecordedShell({f"qstat -f {job_id}": unknown.answer, QSELECT: Answer()})
    assert isinstance(pbs.rps_poll([job(job_id)], shell)[job_id], Gone)


def test_living_and_finished_jobs_are_two_calls() -> None:
    ids = [ID, "36.tscc-mgr7.local"]
    running, ended = QSTAT["state R"].answer.stdout, QSTAT["state F"].answer
    shell = RecordedShell(
        {
            ("qstat", "-f", *ids): Answer(35, running, finished(ids[1]).stderr),
            f"qstat -xf {ids[1]}": ended,
        }
    )
    found = pbs.rps_poll([job(job_id) for job_id in ids], shell)
    assert isinstance(found[ID], Known)
    assert isinstance(found[ids[1]], Gone)


def test_finished_is_an_end_also_where_the_history_was_deleted_meanwhile() -> None:
    silent = NO_HISTORY["no history: qstat -xf"].answer
    shell = RecordedShell({f"qstat -f {ID}": finished(ID), f"qstat -xf {ID}": silent})
    assert pbs.rps_poll([job(ID)], shell)[ID] == Gone(
        outcome=Outcome.ENDED, evidence="qstat says that it has finished"
    )


def test_exit_code_0_with_nothing_but_an_error_is_no_answer() -> None:
    """Test `qselect -x` without history, and others.

    No conclusion from an error alone.
    """
    silent = NO_HISTORY["no history: qselect -x"].answer
    assert silent.code == 0
    unknown = QSTAT["unknown"].answer
    shell = RecordedShell({"qstat -f 999999": unknown, "qselect": silent})
    found = pbs.rps_poll_all_users(["999999"], shell)["999999"]
    assert isinstance(found.status, Unknown)
    nothing = NO_HISTORY["no history: qstat -xf"].answer
    found_own = pbs.rps_poll([job(ID)], RecordedShell({f"qstat -f {ID}": nothing}))[ID]
    assert isinstance(found_own, Unknown)
    assert "not configured to maintain job history" in found_own.reason
    with pytest.raises(SchedulerError, match="qselect"):
        pbs.rps_list_jobs(RecordedShell({QSELECT: silent}))
    with pytest.raises(SchedulerError, match="qstat"):
        pbs.rps_partitions(RecordedShell({"qstat -Q": nothing}))


def test_a_harmless_line_on_stderr_changes_no_empty_answer() -> None:
    line = (
        "ERROR: ld.so: object 'libmon.so' from LD_PRELOAD cannot be preloaded "
        "(cannot open shared object file): ignored.\n*** Welcome to the cluster ***\n"
    )
    unknown = QSTAT["unknown"].answer
    shell = RecordedShell({"qstat -f 999999": unknown, "qselect": Answer(0, "", line)})
    found = pbs.rps_poll_all_users(["999999"], shell)["999999"]
    assert isinstance(found.status, Gone)
    assert pbs.rps_list_jobs(RecordedShell({QSELECT: Answer(0, "", line)})) == []


@pytest.mark.parametrize("title", ["state R", "state Q_never", "state F"])
def test_the_details_of_a_job_are_what_qstat_shows(title: str) -> None:
    """PBS's qstat does not take -f with -1: "qstat: conflicting options"."""
    recorded = QSTAT[title]
    job_id = recorded.command.split()[-1]
    over = title == "state F"
    shell = RecordedShell(
        {
            f"qstat -f {job_id}": finished(job_id) if over else recorded.answer,
            f"qstat -xf {job_id}": recorded.answer,
            f"tracejob -q -n 3 {job_id}": MISSING,
        }
    )
    (line,) = pbs.rps_job_details(job(job_id), shell)
    assert line.source == "qstat"
    assert f"job_state={recorded.answer.stdout.partition('job_state = ')[2][:1]}" in line.line


@pytest.mark.parametrize(
    ("title", "cause"),
    [("server down: qstat", Cause.SCHEDULER_AWAY), ("wrong host", None)],
)
def test_a_server_that_is_ill_makes_unknown(title: str, cause: Cause | None) -> None:
    shell = RecordedShell({f"qstat -f {ID}": QSTAT[title].answer})
    status = pbs.rps_poll([job(ID)], shell)[ID]
    assert isinstance(status, Unknown)
    assert status.cause == cause


@pytest.mark.parametrize(
    ("title", "hint"),
    [
        ("bad queue", "qstat -q"),
        ("disabled queue", "-p"),
        ("restricted", "-p"),
        ("walltime above max", "-t"),
        ("bad walltime", "--dry-run"),
        ("unknown resource", "--dry-run"),
        ("limit 2", "limit on jobs"),
        ("nonexistent", "cannot read"),
        ("dos", "cannot read"),
        ("name space", "--dry-run"),
        ("unknown option", "--dry-run"),
    ],
)
def test_a_refusal_has_its_reason_and_a_hint(title: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(SchedulerError) as caught:
        submit(tmp_path, QSUB[title].answer)
    assert "usage" not in caught.value.message
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
    return pbs.rps_submit(spec, directory / "batch.sh", shell).job_id


def test_submitting(tmp_path: Path) -> None:
    assert submit(tmp_path, QSUB["OK"].answer) == "1.tscc-mgr7.local"
    assert submit(tmp_path, TIMEOUT, history=Answer(0, f"{ID}\n")) == ID
    no_history = NO_HISTORY["no history: qselect -x"].answer
    current = NO_HISTORY["no history: qselect"].answer
    assert submit(tmp_path, TIMEOUT, history=no_history, current=current) == "27.pbs-server"
    with pytest.raises(SchedulerError, match="There is no such job"):
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


def cancel(title: str) -> bool:
    """Return a job that runs as far as qstat knows, and qdel's recorded answer."""
    recorded = QSTAT[title]
    job_id = recorded.command.split()[-1]
    runs = QSTAT["state R"].answer.stdout.replace(f"Job Id: {ID}", f"Job Id: {job_id}")
    shell = RecordedShell(
        {recorded.command: recorded.answer, f"qstat -f {job_id}": Answer(0, runs)}
    )
    return pbs.rps_cancel(job(job_id), shell)


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
    assert cancel(title) is there


@pytest.mark.parametrize(
    ("title", "transient"), [("qdel foreign", False), ("server down: qdel", True)]
)
def test_a_job_that_cannot_be_ended_is_reported(title: str, transient: bool) -> None:
    with pytest.raises(SchedulerError) as caught:
        cancel(title)
    assert caught.value.transient is transient


def test_nothing_but_an_id_reaches_qdel() -> None:
    with pytest.raises(SchedulerError, match="not a job id"):
        pbs.rps_cancel(job("all"), RecordedShell({}))


@pytest.mark.parametrize(
    ("name", "owner", "output", "own"),
    [
        ("rps-0123456789", "tuser", "/dev/null", True),
        ("renamed", "tuser", "/h/a-b-c/spool.log", True),
        ("my-simulation", "tuser", "/dev/null", False),
        ("rps-0123456789", "stranger", "/h/a-b-c/spool.log", False),
    ],
)
def test_another_job_with_the_id_is_not_touched(
    name: str, owner: str, output: str, own: bool
) -> None:
    """Test a server that lost its jobs: the ids start again, and qdel checks only ids."""
    named = Job(
        id=ID, tag="rps:a-b-c:00000000", session_dir=Path("/h/a-b-c"), name="rps-0123456789"
    )
    printed = re.sub("Job_Name = .*", f"Job_Name = {name}", QSTAT["state R"].answer.stdout)
    printed = re.sub("Job_Owner = .*?@", f"Job_Owner = {owner}@", printed)
    printed = re.sub("Output_Path = [^:]*:.*", f"Output_Path = node:{output}", printed)
    shell = RecordedShell({f"qstat -f {ID}": Answer(0, printed), f"qdel {ID}": Answer()})
    found = pbs.rps_poll([named], shell)[ID]
    if own:
        assert isinstance(found, Known)
        assert pbs.rps_cancel(named, shell) is True
    else:
        assert isinstance(found, Unknown)
        assert found.cause == "id-reused"
        with pytest.raises(AnotherJobError):
            pbs.rps_cancel(named, shell)
        assert ("qdel", ID) not in shell.calls
