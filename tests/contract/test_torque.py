"""Torque: submission, states, cancelling and accounts, with answers of a real one."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from rps_core.errors import AnotherJobError, SchedulerError
from rps_core.jobs import Gone, Job, JobPhase, JobStatus, Known, Outcome, Submission, Unknown
from rps_core.models import SessionSpec
from rps_core.schedulers.pbs import answers, identity, torque
from rps_core.schedulers.pbs import gold as torque_gold
from rps_core.schedulers.pbs.directives import job_name
from rps_core.schedulers.pbs.product import product_of_qstat
from rps_core.schedulers.pbs.states import status_of
from rps_core.system.user import login_name
from rps_core.testing import MISSING, TIMEOUT, Answer, RecordedShell, Reply, SchedulerContract
from rps_proxy.registry.names import words
from tests.contract.own_jobs import LATER
from tests.contract.transcripts import RECORDED, read

QSUB = read("torque/qsub.txt")
QSTAT = read("torque/qstat.txt")
QDEL = read("torque/qdel.txt")
WRAPPERS = read("torque/slurm-wrappers.txt")

SERVER = "tscc-mgr7.local"
ID = f"1234648.{SERVER}"
QSELECT = ("qselect", "-u", login_name())


class TestTorque(SchedulerContract):
    scheduler = "torque"
    job_id = ID
    prompt = "#PBS "
    refused = QSUB["bad queue"].answer
    another_job: ClassVar = {
        "qstat": Answer(
            0, QSTAT["state R: -x"].answer.stdout + QSTAT["state R: -f -1"].answer.stdout
        )
    }
    canceller = "qdel"


def test_no_other_prefix_of_directives_reaches_qsub() -> None:
    variables = TestTorque().site().command_variables()
    assert variables is not None
    assert variables.applied({"PBS_DPREFIX": "#Q", "PBS_DEFAULT": "mgr"}) == {"PBS_DEFAULT": "mgr"}


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be the user of the recordings."""
    monkeypatch.setattr(identity, "login_name", lambda: "tuser")


def job(job_id: str, directory: Path = Path("/nowhere")) -> Job:
    return Job(id=job_id, tag="rps:a-b-c:00000000", session_dir=directory, joined=LATER)


def status(title: str, job_id: str | None = None) -> JobStatus:
    """Return the status for recorded output of `qstat -x` or `qstat -f -1`."""
    recorded = QSTAT.get(title) or QDEL[title]
    job_id = job_id or recorded.command.split()[-1]
    if " -x " in recorded.command:
        shell = RecordedShell({recorded.command: recorded.answer})
    else:
        no_xml = Answer(2, "", "qstat: invalid option -- 'x'\n")
        shell = RecordedShell(
            {f"qstat -x {job_id}": no_xml, f"qstat -f -1 {job_id}": recorded.answer}
        )
    return torque.rps_poll([job(job_id)], shell)[job_id]


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the time zone of the recordings: qstat -f shows times in local time."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


# Submission


def spec(directory: Path) -> SessionSpec:
    return TestTorque().spec(directory)


def submit(directory: Path, shell: RecordedShell) -> str:
    return torque.rps_submit(spec(directory), directory / "batch.sh", shell).job_id


def qsub_in(directory: Path) -> tuple[str, ...]:
    return (
        "qsub", "-N", job_name(spec(directory).name), "-r", "n", "-j", "oe", "-o",
        f"{directory}/spool.log", f"{directory}/batch.sh",
    )  # fmt: skip


def test_the_id_is_kept_in_full(tmp_path: Path) -> None:
    shell = RecordedShell({qsub_in(tmp_path): QSUB["OK, script file"].answer})
    assert submit(tmp_path, shell) == f"1234569.{SERVER}"


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        (f"Welcome!\nqsub: 12 jobs are yours\n77.{SERVER}\n", f"77.{SERVER}"),
        (f"77.{SERVER}\n\n", f"77.{SERVER}"),
        (f"77.{SERVER}\nbalance:\n12500\n", f"77.{SERVER}"),
        ("77\nbalance:\n12500\n", "77 12500"),
        ("77.s\n78.s\n", "77.s 78.s"),
        ("12\n77.s\nsee http://help/1\n", "77.s"),
        ("77[].s\n", "77[].s"),
        ("77\n", "77"),
        ("", ""),
        ("77.\n", ""),
        ("77.s and more\n", ""),
        ("\u0667\u0667.s\n", ""),
    ],
)
def test_a_line_that_is_an_id_is_taken_and_no_other_number(printed: str, found: str) -> None:
    assert answers.submitted_ids(printed) == found.split()


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("selected", [Answer(0, f"77.{SERVER}\n"), Answer(), TIMEOUT])
def test_an_id_is_looked_up_where_qsub_failed_or_printed_several(
    code: int, selected: Reply, tmp_path: Path
) -> None:
    """Test wrappers that print a balance below the id, or fail after the submission."""
    name = job_name(spec(tmp_path).name)
    printed = f"77.{SERVER}\n" if code else f"77.{SERVER}\n78.other\n"
    shell = RecordedShell(
        {
            qsub_in(tmp_path): Answer(code, printed, "site: accounting database is locked\n"),
            f"qselect -u {login_name()} -N {name}": selected,
            "qstat -f -1": TIMEOUT,
        }
    )
    if selected is TIMEOUT or not isinstance(selected, Answer) or not selected.stdout:
        with pytest.raises(SchedulerError) as caught:
            submit(tmp_path, shell)
        lines = caught.value.message.splitlines()
        assert "accounting database is locked" in caught.value.message
        assert (lines[-1] == "Its job could not be looked up") is (selected is TIMEOUT)
    else:
        assert submit(tmp_path, shell) == f"77.{SERVER}"


@pytest.mark.parametrize(
    ("title", "output", "hint"),
    [
        ("bad queue", "Unknown queue", "qstat -q"),
        ("queue disabled", "Queue is not enabled", "-p"),
        ("queue restricted by acl_users", "Unauthorized Request", "-p"),
        ("walltime above queue max", "cannot satisfy queue max walltime requirement", "-t"),
        ("more ppn than exist", "cannot locate feasible nodes", "fewer cores"),
        ("more nodes than exist", "cannot locate feasible nodes", "fewer cores"),
        ("unknown node property", "cannot locate feasible nodes", "fewer cores"),
        ("gpus", "cannot locate feasible nodes", "GPUs"),
        ("per-user queue limit, 2nd", "Maximum number of jobs already in queue", "limit on jobs"),
        ("bad walltime", "Illegal attribute or resource value", "--dry-run"),
        ("walltime with days 1-00:00:00", "Illegal attribute", "--dry-run"),
        ("unknown resource", "Unknown resource type", "--dry-run"),
        ("name with space", "illegal -N value", "--dry-run"),
        ("nonexistent script", "cannot be loaded", "cannot read"),
        ("script is a directory", "script not a file", "cannot read"),
        ("DOS line endings", "DOS/Windows text format", "cannot read"),
        ("as root", "qsub can not be run as root", "ordinary user"),
        ("directive bad in script", "Unknown queue", "qstat -q"),
        ("unknown option", "", "--dry-run"),
    ],
)
def test_a_refusal_has_its_reason_and_a_hint(
    title: str, output: str, hint: str, tmp_path: Path
) -> None:
    shell = RecordedShell({qsub_in(tmp_path): QSUB[title].answer})
    with pytest.raises(SchedulerError) as caught:
        submit(tmp_path, shell)
    assert output in caught.value.message
    assert "usage" not in caught.value.message
    assert hint in caught.value.hint
    assert not caught.value.transient


@pytest.mark.parametrize(
    "title",
    [
        "pbs_server down, trqauthd up: qsub",
        "pbs_server up, trqauthd down: qsub",
        "pbs_server stopping (SIGTERM), still up: qsub",
        "bad server",
    ],
)
def test_a_server_that_is_away_is_transient(title: str, tmp_path: Path) -> None:
    shell = RecordedShell({qsub_in(tmp_path): QSUB[title].answer})
    with pytest.raises(SchedulerError, match=r"qsub refused the job \(exit \d+\):\s+\S+") as caught:
        submit(tmp_path, shell)
    assert caught.value.transient


def test_a_submission_that_hung_is_found_by_its_name(tmp_path: Path) -> None:
    name = job_name(spec(tmp_path).name)
    shell = RecordedShell(
        {
            qsub_in(tmp_path): TIMEOUT,
            f"qselect -u {login_name()} -N {name}": QSTAT["qselect -N"].answer,
        }
    )
    assert submit(tmp_path, shell) == ID


def test_a_submission_that_hung_and_made_no_job_is_reported(tmp_path: Path) -> None:
    name = job_name(spec(tmp_path).name)
    shell = RecordedShell(
        {qsub_in(tmp_path): TIMEOUT, f"qselect -u {login_name()} -N {name}": Answer()}
    )
    with pytest.raises(SchedulerError, match="There is no such job") as caught:
        submit(tmp_path, shell)
    assert caught.value.transient
    assert name in caught.value.hint
    assert [call[0] for call in shell.calls] == ["qsub", "qselect"], "it is not tried again"


def test_a_submission_of_which_nothing_can_be_learnt_says_how_to_look_for_it(
    tmp_path: Path,
) -> None:
    name = job_name(spec(tmp_path).name)
    shell = RecordedShell(
        {
            qsub_in(tmp_path): TIMEOUT,
            f"qselect -u {login_name()} -N {name}": TIMEOUT,
            "qstat -f -1": TIMEOUT,
        }
    )
    with pytest.raises(SchedulerError, match="could not be looked up") as caught:
        submit(tmp_path, shell)
    assert f"qselect -N {name}" in caught.value.hint


def test_without_qselect_the_list_of_all_jobs_is_searched(tmp_path: Path) -> None:
    name = job_name(spec(tmp_path).name)
    shown = WRAPPERS["qstat -f -1 11"].answer.stdout.replace("running_job_with_long_name", name)
    listed = shown.replace("Job_Owner = alice@", f"Job_Owner = {login_name()}@")
    mallory = shown.replace("Job Id:\t11", "Job Id:\t10")  # who has seen the name in the queue
    others = WRAPPERS["qstat -f 12"].answer.stdout
    shell = RecordedShell(
        {
            qsub_in(tmp_path): TIMEOUT,
            f"qselect -u {login_name()} -N {name}": MISSING,
            "qstat -f -1": Answer(0, mallory + others + listed),
        }
    )
    assert submit(tmp_path, shell) == "11"


def test_job_names_are_what_every_torque_takes_and_differ() -> None:
    names = {job_name(f"{word}-b-c") for word in words()}
    assert len(names) == len(words())
    assert all(len(name) <= 15 and name.isascii() and name[0].isalpha() for name in names)


# A launcher that was killed while it submitted: its job by its name.

LOOKED_FOR = Submission(
    name="a-b-c", tag="rps:a-b-c:00000000", session_dir=Path("/nowhere"),
    since=datetime(2026, 11, 22, 18, 0, tzinfo=UTC),
)  # fmt: skip
SELECTED = f"qselect -u {login_name()} -N {job_name(LOOKED_FOR.name)}"


@pytest.mark.parametrize(
    ("answer", "found"),
    [(QSTAT["qselect -N"].answer, {LOOKED_FOR.tag: ID}), (Answer(), {})],
)
def test_a_job_is_found_by_its_name(answer: Answer, found: dict[str, str]) -> None:
    assert torque.rps_find_jobs([LOOKED_FOR], RecordedShell({SELECTED: answer})) == found


def test_without_an_answer_a_submission_is_unknown() -> None:
    with pytest.raises(SchedulerError, match="neither qselect nor qstat"):
        torque.rps_find_jobs(
            [LOOKED_FOR], RecordedShell({SELECTED: TIMEOUT, "qstat -f -1": TIMEOUT})
        )


def test_living_jobs_of_ours_are_known_by_their_names() -> None:
    def shown(number: int, **changed: str) -> str:
        found = {"Job_Name": job_name("a-b-c"), "Job_Owner": f"{login_name()}@tscc",
                 "job_state": "Q", **changed}  # fmt: skip
        lines = "".join(f"    {key} = {value}\n" for key, value in found.items())
        return f"Job Id: {number}.{SERVER}\n{lines}\n"

    text = (
        shown(1) + shown(2, job_state="C") + shown(3, Job_Name="mine") + shown(4, Job_Owner="x@y")
    )
    listed = Answer(0, "".join(f"{number}.{SERVER}\n" for number in (1, 2, 3, 4)))
    ids = " ".join(f"{number}.{SERVER}" for number in (1, 2, 3, 4))
    torques = RecordedShell({QSELECT: listed, f"qstat -f {ids}": Answer(0, text)})
    assert torque.rps_list_jobs(torques) == [f"1.{SERVER}"]
    slurms = RecordedShell({QSELECT: MISSING, "qstat -f -1": Answer(0, text)})
    assert torque.rps_list_jobs(slurms) == [f"1.{SERVER}"]
    assert torque.rps_list_jobs(RecordedShell({QSELECT: Answer()})) == []
    for silent in (
        RecordedShell({QSELECT: TIMEOUT}),
        RecordedShell({QSELECT: MISSING, "qstat -f -1": Answer(1, "", "away\n")}),
    ):
        with pytest.raises(SchedulerError):
            torque.rps_list_jobs(silent)


# States


@pytest.mark.parametrize("form", ["-x", "-f -1"])
@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (
            "state Q",
            Known(
                phase=JobPhase.PENDING,
                reason="its queue is stopped: none of its jobs starts until an administrator starts it",
                raw_reason="Not Running: Queue not started.",
                cause="partition-down",
            ),
        ),
        (
            "state Q_no_room",
            Known(
                phase=JobPhase.PENDING,
                reason="no suitable node is free yet",
                raw_reason="Not Running: Not enough of the right type of nodes are available",
                cause="resources",
            ),
        ),
        (
            "state H",
            Known(
                phase=JobPhase.PENDING,
                reason="it is held by you",
                cause="held",
                advice="`qrls 1234645.tscc-mgr7.local` releases it.",
            ),
        ),
        (
            "state dep",
            Known(
                phase=JobPhase.PENDING,
                reason="it is held by the system: it depends on another job, or an "
                "administrator holds it",
                cause="dependency",
            ),
        ),
        (
            "state W",
            Known(
                phase=JobPhase.PENDING,
                cause="begin-time",
                reason="it waits for its start time",
                estimated_start=datetime(2026, 11, 25, 23, 59, tzinfo=UTC),
            ),
        ),
        (
            "state E (output copy failing)",
            Known(
                phase=JobPhase.COMPLETING,
                node="tscc-5-1.local",
                reason="the job is ending, its node is being cleaned up",
            ),
        ),
        (
            "state C",
            Gone(
                outcome=Outcome.FAILED,
                evidence="qstat shows it in state C, exit status 3: its script failed",
                exit_code=3,
            ),
        ),
    ],
)
def test_each_state_in_each_form(state: str, form: str, expected: JobStatus, utc: None) -> None:
    title = f"{state}: qstat {form}" if "(" in state else f"{state}: {form}"
    assert status(title) == expected


@pytest.mark.parametrize(
    ("holds", "advice"),
    [
        ("u", "`qrls 7.mgr` releases it."),
        ("", "`qrls 7.mgr` releases it from your hold. If it stays held, ask"),
        ("uo", "`qrls 7.mgr` releases it from your hold. If it stays held, ask"),
        ("o", "Ask the cluster's support"),
        ("s", "Ask the cluster's support"),
    ],
)
def test_the_command_that_releases_a_job_removes_the_users_hold_alone(
    holds: str, advice: str
) -> None:
    found = status_of({"Job_Id": "7.mgr", "job_state": "H", "Hold_Types": holds})
    assert isinstance(found, Known)
    assert (found.advice or "").startswith(advice)


@pytest.mark.parametrize(("title", "left"), [("state R: -x", 1783), ("state R: -f -1", 1783)])
def test_a_running_job_has_its_node_and_the_time_that_is_left(title: str, left: int) -> None:
    assert status(title) == Known(
        phase=JobPhase.RUNNING, node="tscc-5-1.local", time_left=timedelta(seconds=left)
    )


def test_a_dead_node_leaves_the_job_running_as_far_as_torque_knows() -> None:
    found = status("mom dead: qstat -x")
    assert isinstance(found, Known)
    assert found.phase is JobPhase.RUNNING


@pytest.mark.parametrize(
    ("host", "node"),
    [
        ("n1/0+n1/1+n2/0", "n1"),
        ("n1/0-3", "n1"),
        ("n1/2,7,10-11", "n1"),
        ("n1.a.b/2*7", "n1.a.b"),
        ("", None),
    ],
)
def test_the_node_is_the_first_host(host: str, node: str | None) -> None:
    found = status_of({"job_state": "R", "exec_host": host})
    assert isinstance(found, Known)
    assert found.node == node


@pytest.mark.parametrize("state", ["", "Z", "X", "B", "r", "QR"])
def test_a_state_without_a_meaning_is_unknown(state: str) -> None:
    found = status_of({"job_state": state})
    assert isinstance(found, Unknown)
    assert repr(state) in found.reason


def test_a_suspended_job_lives() -> None:
    found = status_of({"job_state": "S", "exec_host": "n1/0"})
    assert isinstance(found, Known)
    assert found.phase is JobPhase.SUSPENDED


def test_an_old_exit_status_of_a_job_that_runs_again_counts_for_nothing() -> None:
    rerun = {"job_state": "R", "exec_host": "n1/0", "exit_status": "0", "start_count": "2"}
    assert isinstance(status_of(rerun), Known)


@pytest.mark.parametrize("comment", [None, "", "Something that no table knows, with 3 commas,,"])
def test_a_comment_that_is_missing_or_strange_is_kept_as_it_is(comment: str | None) -> None:
    attributes = {"job_state": "Q"} | ({} if comment is None else {"comment": comment})
    found = status_of(attributes)
    assert isinstance(found, Known)
    assert found.reason == (comment or "it waits for its turn")
    assert found.raw_reason == comment


# Ends


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (0, Outcome.COMPLETED),
        (1, Outcome.FAILED),
        (127, Outcome.FAILED),
        (137, Outcome.FAILED),
        (143, Outcome.FAILED),
        (254, Outcome.FAILED),
        (265, Outcome.FAILED),
        (266, Outcome.FAILED),
        (271, Outcome.CANCELLED),
        (-1, Outcome.FAILED),
        (-3, Outcome.FAILED),
        (-9, Outcome.FAILED),
        (-10, Outcome.OUT_OF_MEMORY),
        (-11, Outcome.TIMEOUT),
        (-12, Outcome.FAILED),
    ],
)
def test_exit_statuses(code: int, outcome: Outcome) -> None:
    found = status_of({"job_state": "C", "exec_host": "n1/0", "exit_status": str(code)})
    assert isinstance(found, Gone)
    assert found.outcome is outcome
    assert str(code) in found.evidence
    assert found.exit_code == (code if 0 <= code < 128 else None)


def test_what_qdel_ended_was_cancelled() -> None:
    title = "after qdel of a running job: qstat -f -1"
    found = status(title, f"1234655.{SERVER}")
    assert isinstance(found, Gone)
    assert found.outcome is Outcome.CANCELLED


def test_a_job_that_was_deleted_in_the_queue_never_ran() -> None:
    found = status("queued job, qstat -f right after", f"1234656.{SERVER}")
    assert found == Gone(
        outcome=Outcome.CANCELLED,
        evidence="it was deleted before it started; qstat shows it in state C",
    )


def test_the_walltime_was_over() -> None:
    found = status("walltime exceeded", f"1234675.{SERVER}")
    assert isinstance(found, Gone)
    assert found.outcome is Outcome.TIMEOUT


def test_an_old_torque_has_no_status_of_its_own_for_it() -> None:
    found = status_of(
        {
            "job_state": "C",
            "exec_host": "n1/0",
            "exit_status": "271",
            "Resource_List.walltime": "00:30:00",
            "resources_used.walltime": "00:30:12",
        }
    )
    assert isinstance(found, Gone)
    assert found.outcome is Outcome.TIMEOUT


# One poll for all, and what goes wrong with it


def test_one_call_for_all_jobs() -> None:
    recorded = QSTAT["two known -x"]
    shell = RecordedShell({recorded.command: recorded.answer})
    ids = recorded.command.split()[2:]
    found = torque.rps_poll([job(job_id) for job_id in ids], shell)
    assert len(shell.calls) == 1
    assert [getattr(found[job_id], "phase", None) for job_id in ids] == [
        JobPhase.RUNNING,
        JobPhase.PENDING,
    ]


def test_an_unknown_id_does_not_spoil_the_others(tmp_path: Path) -> None:
    recorded = QSTAT["unknown + known -x"]
    shell = RecordedShell({recorded.command: recorded.answer, QSELECT: TIMEOUT})
    found = torque.rps_poll([job("99999999", tmp_path), job(ID, tmp_path)], shell)
    assert isinstance(found[ID], Known)
    assert not isinstance(found["99999999"], Known)


def test_200_jobs_are_one_call() -> None:
    ids = [f"{1000 + number}.{SERVER}" for number in range(200)]
    one = QSTAT["state Q: -x"].answer.stdout
    printed = "".join(one.replace(f"1234644.{SERVER}", job_id) for job_id in ids)
    shell = RecordedShell({("qstat", "-x", *ids): Answer(0, printed)})
    found = torque.rps_poll([job(job_id) for job_id in ids], shell)
    assert len(shell.calls) == 1
    assert all(isinstance(status, Known) for status in found.values())


def test_ids_that_are_none_are_not_asked_for() -> None:
    shell = RecordedShell({})
    texts = (
        "",
        "all",
        "-a",
        "12.",
        "interactive",
        "9" * 200_000,
        f"12.{'s' * 200_000}",
        "1[" + "9" * 99 + "]",
    )
    found = torque.rps_poll([job(text) for text in texts], shell)
    assert shell.calls == []
    assert all(isinstance(status, Unknown) for status in found.values())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (f"12.{SERVER}", f"12.{SERVER}", True),
        (f"12.{SERVER}", "12.tscc-mgr7", True),
        ("12", f"12.{SERVER}", True),
        (f"12.{SERVER}", "12.tscc-mgr", False),
        (f"12.{SERVER}", "12.other-host", False),
        ("12", "13", False),
        ("12[]", "12", False),
        ("12[4].s", "12[4]", True),
        ("12[4].s", "12[5].s", False),
    ],
)
def test_ids_are_compared_by_number_and_server(one: str, other: str, same: bool) -> None:
    assert answers.same_job(one, other) is same
    assert answers.same_job(other, one) is same


def test_an_answer_for_another_job_is_none() -> None:
    shell = RecordedShell({"qstat -x 12.s": QSTAT["state R: -x"].answer})
    found = torque.rps_poll([job("12.s")], shell)["12.s"]
    assert isinstance(found, Unknown)


def test_an_element_of_an_array_is_a_job_like_others() -> None:
    found = status("array elem running -x")
    assert isinstance(found, Known)
    assert found.phase is JobPhase.RUNNING


@pytest.mark.parametrize(
    ("title", "output"),
    [
        ("pbs_server down, trqauthd up: qstat -x ID", "Connection refused"),
        ("pbs_server up, trqauthd down: qstat -x ID", "trqauthd"),
        ("PBS_DEFAULT unreachable ip", "No route to host"),
        ("PBS_DEFAULT to bad server", "nosuchserver"),
        ("garbage id", "illegally formed"),
    ],
)
def test_a_server_that_is_ill_makes_unknown(title: str, output: str) -> None:
    shell = RecordedShell({f"qstat -x {ID}": QSTAT[title].answer})
    found = torque.rps_poll([job(ID)], shell)[ID]
    assert isinstance(found, Unknown)
    assert output in found.reason


def test_no_output_at_all_is_not_the_end_of_a_job() -> None:
    shell = RecordedShell({f"qstat -x {ID}": Answer(0, "", "")})
    assert isinstance(torque.rps_poll([job(ID)], shell)[ID], Unknown)


def test_a_banner_before_and_behind_is_no_matter() -> None:
    printed = f"Welcome to TSCC\n{QSTAT['state R: -x'].answer.stdout}\nHave a nice day\n"
    shell = RecordedShell({f"qstat -x {ID}": Answer(0, printed)})
    assert isinstance(torque.rps_poll([job(ID)], shell)[ID], Known)


def test_xml_that_is_cut_off_anywhere_never_ends_a_session() -> None:
    recorded = QSTAT["state C: -x"]
    job_id = recorded.command.split()[-1]
    printed = recorded.answer.stdout
    last = printed.index("</Job>")
    for end in range(0, last + 5, 7):
        shell = RecordedShell({recorded.command: Answer(0, printed[:end])})
        assert isinstance(torque.rps_poll([job(job_id)], shell)[job_id], Unknown), end


@pytest.mark.parametrize("name", ["control-characters", "latin1-byte"])
def test_xml_that_is_not_well_formed_is_read(name: str) -> None:
    printed = (RECORDED / f"torque/{name}.xml").read_text("utf-8", "replace")
    (found,) = answers.xml_jobs(printed)
    assert found["job_state"] in "QR"
    assert found["Resource_List.walltime"] == "00:30:00"


def test_escapes_in_xml_are_undone() -> None:
    (found,) = answers.xml_jobs(
        "<Job><Job_Id>1</Job_Id><comment>a &lt;b&gt; &amp; c</comment></Job>"
    )
    assert found["comment"] == "a <b> & c"


def test_folded_and_unfolded_text_say_the_same() -> None:
    for state in ("Q", "H", "W", "R", "C", "Q_no_room"):
        (folded,) = answers.text_jobs(QSTAT[f"state {state}: -f"].answer.stdout)
        (whole,) = answers.text_jobs(QSTAT[f"state {state}: -f -1"].answer.stdout)
        ticking = {"Walltime.Remaining", "resources_used.walltime"}
        assert {k: v for k, v in folded.items() if k not in ticking} == {
            k: v for k, v in whole.items() if k not in ticking
        }


def test_several_jobs_in_one_text() -> None:
    found = answers.text_jobs(QSTAT["two known -f"].answer.stdout)
    assert [one["job_state"] for one in found] == ["R", "Q"]


def test_a_value_of_several_lines_ends_nothing() -> None:
    (found,) = answers.text_jobs(QSTAT["multi-line sched_hint"].answer.stdout)
    assert found["job_state"] == "C"
    assert found["exit_status"] == "5"


def test_a_line_within_a_value_overrules_no_attribute() -> None:
    text = "Job Id: 1.s\n    job_state = R\n    Variable_List = A=x\n\n    job_state = C\n\ty\n"
    (found,) = answers.text_jobs(text)
    assert found["job_state"] == "R"


def test_the_table_of_pbs_is_not_taken_for_anything() -> None:
    table = "Job id  Name\n------\n36.tscc-mgr7  state_F  tuser  00:00:00 F interactive\n"
    shell = RecordedShell({"qstat -x 36.tscc-mgr7.local": Answer(0, table)})
    found = torque.rps_poll([job("36.tscc-mgr7.local")], shell)
    assert isinstance(found["36.tscc-mgr7.local"], Unknown)


# Cancelling


def cancel(title: str) -> bool:
    recorded = QDEL.get(title) or QSTAT[title]
    job_id = recorded.command.split()[-1]
    runs = QSTAT["state R: -x"].answer.stdout.replace(ID, job_id)
    shell = RecordedShell(
        {recorded.command: recorded.answer, f"qstat -x {job_id}": Answer(0, runs)}
    )
    return torque.rps_cancel(job(job_id), shell)


def test_a_job_is_cancelled() -> None:
    assert cancel("queued job") is True


@pytest.mark.parametrize(
    "title",
    ["unknown id", "completed job", "running job, immediately: second qdel", "state E: qdel"],
)
def test_what_is_over_or_ending_needs_no_end(title: str) -> None:
    assert cancel(title) is False


@pytest.mark.parametrize(
    ("title", "output", "transient"),
    [
        ("foreign job", "operation not permitted", False),
        ("mom dead: qdel", "could not connect to MOM", True),
        ("pbs_server down, trqauthd up: qdel", "Connection refused", True),
        ("pbs_server up, trqauthd down: qdel", "trqauthd", True),
    ],
)
def test_a_job_that_cannot_be_ended_is_reported(title: str, output: str, transient: bool) -> None:
    with pytest.raises(SchedulerError, match=output) as caught:
        cancel(title)
    assert caught.value.transient is transient


@pytest.mark.parametrize("job_id", ["", "all", "foo", "-p"])
def test_nothing_but_an_id_reaches_qdel(job_id: str) -> None:
    shell = RecordedShell({})
    with pytest.raises(SchedulerError, match="not a job id"):
        torque.rps_cancel(job(job_id), shell)
    assert shell.calls == []


# An id that the server, without its jobs, has given to another job

SHOWN = QSTAT["state R: -x"].answer.stdout
NAMED = Job(id=ID, tag="rps:a-b-c:00000000", session_dir=Path("/h/a-b-c"), name="rps-0123456789")


def shows(name: str = "rps-0123456789", owner: str = "tuser", output: str = "/dev/null") -> Answer:
    """Return a running job of this name, owner and output file."""
    printed = re.sub("<Job_Name>[^<]*", f"<Job_Name>{name}", SHOWN)
    printed = re.sub("<Job_Owner>[^<]*", f"<Job_Owner>{owner}@login-1.example.org", printed)
    printed = re.sub("<Output_Path>[^<]*", f"<Output_Path>node:{output}", printed)
    assert (name in printed, owner in printed, output in printed) == (True, True, True)
    return Answer(0, printed)


@pytest.mark.parametrize(
    "own", [shows(), shows("renamed", output="/h/a-b-c/spool.log")], ids=["name", "output file"]
)
def test_the_sessions_job_is_recognized_and_cancelled(own: Answer) -> None:
    shell = RecordedShell({f"qstat -x {ID}": own, f"qdel {ID}": Answer()})
    assert isinstance(torque.rps_poll([NAMED], shell)[ID], Known)
    assert torque.rps_cancel(NAMED, shell) is True


def test_an_owner_may_have_dots_and_dashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "login_name", lambda: "a.b-c")
    shell = RecordedShell({f"qstat -x {ID}": shows(owner="a.b-c")})
    assert isinstance(torque.rps_poll([NAMED], shell)[ID], Known)


@pytest.mark.parametrize(
    "other",
    [
        shows("my-simulation"),
        shows(owner="stranger"),
        shows("x", "stranger", "/h/a-b-c/spool.log"),
        shows("rps-0123456780", output="/h/a-b-d/spool.log"),
    ],
    ids=["own job", "stranger's job", "stranger's file", "another session's"],
)
def test_another_job_with_the_id_is_not_touched(other: Answer) -> None:
    """qdel compares nothing but the id: it is not run."""
    shell = RecordedShell({f"qstat -x {ID}": other})
    found = torque.rps_poll([NAMED], shell)[ID]
    assert isinstance(found, Unknown)
    assert found.cause == "id-reused"
    with pytest.raises(AnotherJobError, match=f"another job .* with its id {ID}"):
        torque.rps_cancel(NAMED, shell)


def test_a_job_that_the_server_does_not_show_is_another_users() -> None:
    """Without `query_other_jobs` a server shows a job to its owner alone."""
    refused = QSTAT[
        "jobs of another user, without query_other_jobs (6.1.3.h5, 29 November 2026): qstat -x"
    ]
    jobs = [replace(NAMED, id="7.torq1"), replace(NAMED, id="8.torq1")]
    shell = RecordedShell(
        {"qstat -x 7.torq1 8.torq1": refused.answer, "qstat -x 8.torq1": refused.answer}
    )
    for found in torque.rps_poll(jobs, shell).values():
        assert isinstance(found, Unknown)
        assert found.cause == "id-reused"
    with pytest.raises(AnotherJobError, match=r"another job of another user with its id 8\.torq1"):
        torque.rps_cancel(jobs[1], shell)


def test_without_an_answer_nothing_is_cancelled() -> None:
    """Whose job it is can then not be known."""
    hidden = re.sub("<Job_Owner>[^<]*</Job_Owner>", "", shows().stdout)
    for answer in (Answer(0, hidden), QSTAT["pbs_server down, trqauthd up: qstat -x ID"].answer):
        shell = RecordedShell({f"qstat -x {ID}": answer})
        assert isinstance(torque.rps_poll([NAMED], shell)[ID], Unknown)
        with pytest.raises(SchedulerError, match="owner could not be found out") as caught:
            torque.rps_cancel(NAMED, shell)
        assert caught.value.transient


def test_an_allocation_is_older_than_the_session_in_it() -> None:
    """Test `qsub -I`: its name is the user's, and it is older than the session."""
    submitted = datetime.fromtimestamp(int(answers.xml_jobs(SHOWN)[0]["ctime"]), UTC)
    shell = RecordedShell({f"qstat -x {ID}": shows("STDIN")})
    for joined, kind in ((submitted, Known), (submitted - timedelta(hours=1), Unknown)):
        within = replace(NAMED, joined=joined)
        assert isinstance(torque.rps_poll([within], shell)[ID], kind)


# Which product it is


@pytest.mark.parametrize(
    ("reply", "product"),
    [
        (QSTAT["--version"].answer, "torque"),
        (WRAPPERS["qstat --version"].answer, None),
        (Answer(0, "pbs_version = 23.06.06\n"), "pbs"),
        (Answer(0, "", "version: 2.5.7\n"), "torque"),
        (TIMEOUT, None),
    ],
)
def test_the_product_tells_its_version_in_its_own_way(reply: Reply, product: str | None) -> None:
    assert product_of_qstat(RecordedShell({"qstat --version": reply})) == product


# Accounts

TWO_ACCOUNTS = """\
Id  Name                         Amount       Reserved     Balance      CreditLimit      Available
--- ---------------------------- ------------ ------------ ------------ ---------------- -------------
1   biology                      25000        0            25000        0                {biology:<13}
2   chemistry on colony          50000        0            50000        0                {chemistry:<13}
"""


def gold(printed: str, code: int = 0) -> str | None:
    answer = Answer(code, printed)
    return torque_gold.default_account("amy", RecordedShell({"gbalance -u amy": answer}))


def test_the_one_account_is_charged() -> None:
    one = "\n".join(TWO_ACCOUNTS.format(biology="0", chemistry="").split("\n")[:3])
    assert gold(one) == "biology"


def test_of_several_accounts_the_one_with_credit() -> None:
    assert gold(TWO_ACCOUNTS.format(biology="25000", chemistry="0")) == "biology"


@pytest.mark.parametrize(
    ("biology", "chemistry"), [("25000", "10"), ("0", "0"), ("0", "50"), ("?", "?")]
)
def test_else_the_choice_is_golds(biology: str, chemistry: str) -> None:
    """`chemistry on colony` is no name that qsub takes."""
    assert gold(TWO_ACCOUNTS.format(biology=biology, chemistry=chemistry)) is None


@pytest.mark.parametrize(
    "printed", ["", "\n", "Welcome!\n", "User amy does not exist\n", "---\n", "--- ---\n"]
)
def test_without_a_table_there_is_no_account(printed: str) -> None:
    assert gold(printed) is None
    assert gold(printed, code=1) is None


@pytest.mark.parametrize("reply", [MISSING, TIMEOUT])
def test_without_gold_there_is_no_account(reply: Reply) -> None:
    shell = RecordedShell({"gbalance -u amy": reply})
    assert torque_gold.default_account("amy", shell) is None


# `rps why`

TRACED = """
Job: 1234647.tscc-mgr7.local

11/22/2026 18:17:12.227 S    enqueuing into interactive, state 1 hop 1
11/22/2026 18:17:12.277 S    Job Modified at request of root@tscc-mgr7.local
11/22/2026 18:17:12.353 S    Not sending email: User does not want mail of this type.
11/22/2026 18:17:12.354 S    Exit_status=3 resources_used.cput=0 resources_used.walltime=00:00:00
11/22/2026 18:17:12.288 L    Job Run
11/22/2026 18:17:12.310 M    job was terminated
11/22/2026 18:17:12  A    user=tuser group=tuser jobname=state_C queue=interactive Exit_status=3
"""  # as a real one printed it, two lines shortened


def test_what_the_server_and_its_logs_tell_of_a_job() -> None:
    recorded = QSTAT["state C: -f -1"]
    job_id = recorded.command.split()[-1]
    job = Job(id=job_id, tag="rps:a-b-c:0", session_dir=Path("/nowhere"), joined=LATER)
    trace = f"tracejob -q -n 3 {job_id}"
    shell = RecordedShell({recorded.command: recorded.answer, trace: Answer(stdout=TRACED)})
    output = [(one.source, one.line) for one in torque.rps_job_details(job=job, shell=shell)]
    assert output[0][0] == "qstat"
    for part in ("job_state=C", "exit_status=3", "queue=", "Resource_List.walltime=00:30:00"):
        assert part in output[0][1]
    assert output[1:] == [
        ("tracejob", "11/22/2026 18:17:12.277 S    Job Modified at request of root@tscc-mgr7.local"),
        ("tracejob", "11/22/2026 18:17:12.354 S    Exit_status=3 resources_used.cput=0 "
         "resources_used.walltime=00:00:00"),
        ("tracejob", "11/22/2026 18:17:12.288 L    Job Run"),
        ("tracejob", "11/22/2026 18:17:12.310 M    job was terminated"),
    ]  # fmt: skip
    # A login node has no tracejob, and the server may have forgotten the job: no lines, and no error.
    gone = Answer(153, "", f"qstat: Unknown Job Id Error {job_id}\n")
    shell = RecordedShell({recorded.command: gone, trace: MISSING})
    assert list(torque.rps_job_details(job=job, shell=shell)) == []
