"""Slurm's hooks against what a real Slurm answered: submission, polls, cancelling, the default account."""

from __future__ import annotations

import json
import pwd
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rps_core.causes import OVER
from rps_core.errors import SchedulerError
from rps_core.models import (
    Gone,
    Job,
    JobPhase,
    JobStatus,
    Known,
    Outcome,
    SessionSpec,
    Submission,
    Unknown,
)
from rps_core.schedulers import slurm
from rps_core.schedulers import slurm_answers as answers
from rps_core.schedulers import slurm_commands as commands
from rps_core.testing import (
    MISSING,
    TIMEOUT,
    Answer,
    RecordedShell,
    Replies,
    SchedulerContract,
    every_command,
)
from tests.contract import transcripts

SBATCH = transcripts.read("slurm/sbatch.txt")
SQUEUE = transcripts.read("slurm/squeue.txt")
SACCT = transcripts.read("slurm/sacct.txt")
SCANCEL = transcripts.read("slurm/scancel.txt")
SACCTMGR = transcripts.read("slurm/sacctmgr.txt")
NOBODY_THERE = Answer()  # squeue or sacct without a job to show


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "SETTLE_TIME", 0)


class TestSlurm(SchedulerContract):
    scheduler = "slurm"
    job_id = "10"
    refused = SBATCH["no such account"].answer
    prompt = "#SBATCH "


@pytest.fixture
def spec(tmp_path: Path) -> SessionSpec:
    """The session whose job is in the recordings: 10, with its tag."""
    return TestSlurm().spec(tmp_path)


def job(job_id: str, session_dir: Path = Path("/nowhere")) -> Job:
    return Job(id=job_id, tag="rps:one-two-three:0a0b0c0d", session_dir=session_dir)


def submit(spec: SessionSpec, **replies: Replies) -> tuple[str | SchedulerError, list[str]]:
    """What comes of it, and the programs that were run. Replies by name: sbatch, squeue, sacct."""
    script = spec.session_dir / "batch.sh"
    by_name = {
        "sbatch": commands.submit(spec, script),
        "squeue": commands.queue(answers.TAG_FORMAT),
        "sacct": commands.submitted(spec),
    }
    known: dict[str | tuple[str, ...], Replies] = {
        tuple(by_name[name]): reply for name, reply in replies.items()
    }
    shell = RecordedShell(known)
    result: str | SchedulerError
    try:
        result = slurm.rps_submit(spec=spec, script=script, shell=shell)
    except SchedulerError as error:
        result = error
    return result, [call[0] for call in shell.calls]


def poll(
    ids: list[str], queue: Replies, accounting: Replies | None = None, asked: list[str] | None = None,
    session_dir: Path = Path("/nowhere"),
) -> dict[str, JobStatus]:  # fmt: skip
    """The statuses; `accounting` is the answer of a sacct for `asked` alone."""
    replies: dict[str | tuple[str, ...], Replies] = {tuple(commands.queue()): queue}
    if accounting is not None:
        replies[tuple(commands.accounting(asked or ids))] = accounting
    shell = RecordedShell(replies)
    found = slurm.rps_poll(jobs=[job(one, session_dir) for one in ids], shell=shell)
    assert [call[0] for call in shell.calls].count("squeue") == 1
    return dict(found)


# Submission


def test_a_submission_is_one_command(spec: SessionSpec) -> None:
    assert submit(spec, sbatch=SBATCH["accepted"].answer) == ("4", ["sbatch"])
    assert submit(spec, sbatch=SBATCH["accepted, with the cluster"].answer) == ("6", ["sbatch"])
    script = spec.session_dir / "batch.sh"
    assert commands.submit(spec, script) == [
        "sbatch", "--parsable", "--job-name=rps-one-two-three",
        "--comment=rps:one-two-three:0a0b0c0d", str(script),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "above", ["Welcome to the 2nd cluster!\n\n", "12 nodes are down;\n", "77\n"]
)
def test_a_banner_above_the_id_is_passed_over(spec: SessionSpec, above: str) -> None:
    assert submit(spec, sbatch=Answer(0, f"{above}4711\n"))[0] == "4711"
    assert submit(spec, sbatch=Answer(0, f"{above}4711;comet\n\n"))[0] == "4711"


@pytest.mark.parametrize(
    ("title", "told", "hinted"),
    [
        ("no such partition", "invalid partition specified: nosuch (Invalid partition name", "-p"),
        ("no such account", "Invalid account or account/partition combination specified", "-A"),
        ("a user without an account", "Invalid account or account/partition combination", "-A"),
        ("no such QoS", "Invalid qos specification", "--qos"),
        ("time above the limit", "Requested time limit is invalid", "-t"),
        ("too many nodes", "Node count specification invalid", "fewer nodes"),
        ("too many tasks", "More processors requested than permitted", "fewer nodes or cores"),
        ("too many cores", "CPU count per node can not be satisfied (Requested node", "-c"),
        ("too much memory", "Memory specification can not be satisfied (Requested", "-m"),
        ("too many GPUs", "Requested node configuration is not available", "-g"),
        ("no such resource", "Invalid generic resource (gres) specification", "has GPUs"),
        ("no such feature", "Invalid feature specification", "--constraint"),
        ("no such reservation", "Requested reservation is invalid", "show reservation"),
        ("no such option", "unrecognized option '--no-such-option=1'", "man sbatch"),
        ("the partition is down", "Required partition not available (inactive or drain)", "-p"),
        ("no first line", "This does not look like a batch script.", ""),
        ("DOS line breaks", "Batch script contains DOS line breaks", ""),
        ("empty script", "Batch script is empty!", ""),
        ("bad time", "Invalid --time specification", ""),
    ],
)
def test_a_refusal_is_told_in_one_line_with_a_hint(
    spec: SessionSpec, title: str, told: str, hinted: str
) -> None:
    error, ran = submit(spec, sbatch=SBATCH[title].answer)
    assert isinstance(error, SchedulerError)
    assert error.message.startswith(f"Slurm refused the job: {told}")
    assert "\n" not in error.message
    assert "sbatch:" not in error.message
    assert hinted in error.hint
    assert not error.transient
    assert ran == ["sbatch"]


@pytest.mark.parametrize(
    ("title", "told"),
    [
        ("munge is down", "Munge encode failed: Failed to access"),
        ("a host without Slurm's configuration", "Could not establish a configuration source"),
    ],
)
def test_what_was_never_sent_is_not_looked_up(spec: SessionSpec, title: str, told: str) -> None:
    error, ran = submit(spec, sbatch=SBATCH[title].answer)
    assert isinstance(error, SchedulerError)
    assert told in error.message
    assert error.hint
    assert error.transient
    assert ran == ["sbatch"]


LOST: list[Replies] = [
    SBATCH["the controller hangs"].answer,  # the job ran after all, once slurmctld went on
    SBATCH["the controller is gone"].answer,
    SBATCH["the controller's host is unreachable"].answer,
    TIMEOUT,
    Answer(137, "", ""),  # somebody killed it
]


@pytest.mark.parametrize("lost", LOST)
def test_a_lost_submission_is_found_by_its_tag(spec: SessionSpec, lost: Replies) -> None:
    found = submit(spec, sbatch=lost, squeue=SQUEUE["their comments"].answer)
    assert found == ("10", ["sbatch", "squeue"])


@pytest.mark.parametrize("lost", LOST)
def test_a_lost_submission_is_tried_again_once_it_is_certainly_not_there(
    spec: SessionSpec, lost: Replies
) -> None:
    assert not isinstance(lost, list)
    others = SQUEUE["their comments"].answer
    others = Answer(0, others.stdout.replace("0a0b0c0d", "ffffffff"))
    for not_there in (NOBODY_THERE, others):
        again = submit(spec, sbatch=[lost, SBATCH["accepted"].answer], squeue=not_there)  # type: ignore[list-item]
        assert again == ("4", ["sbatch", "squeue", "sbatch"])
        error, ran = submit(spec, sbatch=lost, squeue=not_there)
        assert isinstance(error, SchedulerError)
        assert ran == ["sbatch", "squeue", "sbatch", "squeue"]


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("silence", [SQUEUE["the controller hangs"].answer, TIMEOUT])
def test_what_cannot_be_found_out_is_said_and_not_tried_again(
    spec: SessionSpec, lost: Replies, silence: Replies
) -> None:
    for accounting in (NOBODY_THERE, SACCT["the database is gone"].answer, TIMEOUT, MISSING):
        error, ran = submit(spec, sbatch=lost, squeue=silence, sacct=accounting)
        assert isinstance(error, SchedulerError)
        assert error.transient
        assert "cannot be found out" in error.message
        assert "scancel --name=rps-one-two-three" in error.hint
        assert ran == ["sbatch", "squeue", "sacct"]


def test_accounting_may_know_a_job_that_the_controller_does_not_tell_of(spec: SessionSpec) -> None:
    by_name = SACCT["a job by its name, while it runs"].answer
    silent = SQUEUE["the controller is gone"].answer
    found = submit(spec, sbatch=TIMEOUT, squeue=silent, sacct=by_name)
    assert found == ("10", ["sbatch", "squeue", "sacct"])
    older = Answer(0, "10\x1frps:one-two-three:ffffffff\n11\x1frps:one-two-three:0a0b0c0d\n")
    assert submit(spec, sbatch=TIMEOUT, squeue=silent, sacct=older)[0] == "11"


def test_success_without_an_id_is_looked_up_and_never_tried_again(spec: SessionSpec) -> None:
    quiet = SBATCH["accepted, in silence"].answer
    assert submit(spec, sbatch=quiet, squeue=SQUEUE["their comments"].answer)[0] == "10"
    error, ran = submit(spec, sbatch=quiet, squeue=NOBODY_THERE)
    assert isinstance(error, SchedulerError)
    assert ran == ["sbatch", "squeue"]


# A launcher that was killed while it submitted: its job by its tag.

LOOKED_FOR = Submission(
    name="one-two-three", tag="rps:one-two-three:0a0b0c0d", session_dir=Path("/nowhere"),
    since=datetime(2026, 11, 22, 18, 0, tzinfo=UTC),
)  # fmt: skip


def find(queue: Replies, accounting: Replies, *looked_for: Submission) -> dict[str, str]:
    asked = looked_for or (LOOKED_FOR,)
    shell = RecordedShell(
        {
            tuple(commands.queue(answers.TAG_FORMAT)): queue,
            tuple(commands.submitted_since(asked)): accounting,
        }
    )
    return dict(slurm.rps_find_jobs(submissions=asked, shell=shell))


def test_a_job_is_found_by_its_tag_with_one_question() -> None:
    found = find(SQUEUE["their comments"].answer, Answer(1, "", "not to be asked"))
    assert found == {LOOKED_FOR.tag: "10"}


def test_a_job_that_squeue_has_forgotten_is_found_in_accounting() -> None:
    fields = "18\x1frps-one-two-three\x1f{}\n"
    assert find(NOBODY_THERE, Answer(0, fields.format(LOOKED_FOR.tag))) == {LOOKED_FOR.tag: "18"}
    assert find(NOBODY_THERE, Answer(0, fields.format(""))) == {LOOKED_FOR.tag: "18"}
    assert find(NOBODY_THERE, Answer(0, fields.format("rps:one-two-three:ffffffff"))) == {}


@pytest.mark.parametrize(
    "accounting", [NOBODY_THERE, SACCT["the database is gone"].answer, TIMEOUT, MISSING]
)
def test_that_squeue_has_no_such_job_is_told(accounting: Replies) -> None:
    """With accounting or without: squeue has every job that waits or runs."""
    assert find(NOBODY_THERE, accounting) == {}


@pytest.mark.parametrize("silent", [SQUEUE["the controller is gone"].answer, TIMEOUT, MISSING])
def test_where_squeue_is_silent_nothing_is_said_of_a_submission(silent: Replies) -> None:
    with pytest.raises(SchedulerError):
        find(silent, NOBODY_THERE)


def test_living_jobs_of_ours_are_told_by_their_comments() -> None:
    shown = (
        "17\x1fRUNNING\x1frps:a-b-c:00000000\x1e\n18\x1fCANCELLED\x1frps:a-b-d:00000000\x1e\n"
        "19\x1fPENDING\x1f(null)\x1e\n20\x1fPENDING\x1frps:a-b-e:00000000\x1e\n"
    )
    shell = RecordedShell({tuple(commands.queue(answers.TAGGED_FORMAT)): Answer(0, shown)})
    assert slurm.rps_tagged_jobs(shell=shell) == ["17", "20"]


# Polling: the recordings tell which job is which.

LIVING: list[tuple[str, Known]] = [
    (
        "running",
        Known(phase=JobPhase.RUNNING, node="comet-14-01", time_left=timedelta(minutes=19, seconds=35)),
    ),
    (
        "suspended",
        Known(
            phase=JobPhase.SUSPENDED, node="comet-14-01",
            time_left=timedelta(days=1, hours=1, minutes=59, seconds=55),
        ),
    ),
    (
        "stubborn",
        Known(phase=JobPhase.COMPLETING, node="comet-14-01", time_left=timedelta(minutes=4, seconds=51)),
    ),
]  # fmt: skip
WAITING = [
    ("big", "resources", "Resources", "it is next, as soon as nodes are free", "2026-11-22T22:10:58"),
    ("next", "priority", "Priority", "other jobs are before it", "2026-11-22T22:40:00"),
    ("begin", "begin-time", "BeginTime", "it is not to start before a certain time", "2026-11-22T22:51:19"),
    ("dependency", "dependency", "Dependency", "it waits for another job", None),
    ("never", "never", "DependencyNeverSatisfied",
     "it depends on a job that has failed; as it is, it will never start", None),
    ("held-user", "held", "JobHeldUser", "you hold it back", None),
    ("held-admin", "held", "JobHeldAdmin", "an administrator holds it back", None),
    ("partition-down", "partition-down", "PartitionDown", "its partition is switched off", None),
    ("het", "held", "JobHeldUser", "you hold it back", None),
    ("requeued", "begin-time", "BeginTime", "it is not to start before a certain time",
     "2026-11-22T21:53:20"),
    ("requeue-hold", "held", "job requeued in held state",
     "it was put back into the queue, and is held there",
     "2026-11-22T21:53:21"),
    ("special", "held", "job requeued in held state",
     "it was put back into the queue, and is held there",
     "2026-11-22T21:53:21"),
]  # fmt: skip
ADVICE = {
    "held-user": "`scontrol release {}` lets it go.",
    "het": "`scontrol release {}` lets it go.",
    "held-admin": "Ask the cluster's support why it is held: only they can let it go.",
    "requeue-hold": "`scontrol release {}` lets it go; where Slurm refuses that, ask the cluster's support.",
    "special": "`scontrol release {}` lets it go; where Slurm refuses that, ask the cluster's support.",
}
ENDED = [
    ("completed", Outcome.COMPLETED, "squeue says COMPLETED"),
    ("failed", Outcome.FAILED, "squeue says FAILED, NonZeroExitCode"),
    ("launch", Outcome.FAILED, "squeue says FAILED, JobLaunchFailure"),
    ("oom", Outcome.OUT_OF_MEMORY, "squeue says OUT_OF_MEMORY, OutOfMemory"),
    ("node-fail", Outcome.NODE_FAILED, "squeue says NODE_FAIL, NodeDown"),
]


def number(name: str) -> str:
    """The id of a job of the recordings."""
    text = (transcripts.RECORDED / "slurm/squeue.txt").read_text()
    line = next(line for line in text.splitlines() if line.startswith("jobs: "))
    return dict(part.split("=") for part in line.split()[1:])[name]


@pytest.mark.parametrize(("name", "expected"), LIVING)
def test_a_job_that_lives(name: str, expected: Known) -> None:
    assert poll([number(name)], SQUEUE["jobs of all kinds"].answer) == {number(name): expected}


@pytest.mark.parametrize(("name", "cause", "raw", "reason", "start"), WAITING)
def test_a_job_that_waits_says_why_and_until_when(
    name: str, cause: str, raw: str, reason: str, start: str | None
) -> None:
    assert poll([number(name)], SQUEUE["jobs of all kinds"].answer) == {
        number(name): Known(
            phase=JobPhase.PENDING,
            reason=reason,
            raw_reason=raw,
            cause=cause,
            advice=ADVICE[name].format(number(name)) if cause == "held" else None,
            estimated_start=datetime.fromisoformat(start).astimezone() if start else None,
        )
    }


@pytest.mark.parametrize(("name", "outcome", "evidence"), ENDED)
def test_a_job_that_ended_a_moment_ago(name: str, outcome: Outcome, evidence: str) -> None:
    found = poll([number(name)], SQUEUE["jobs of all kinds"].answer)
    assert found == {number(name): Gone(outcome=outcome, evidence=evidence)}


def test_walltime_reached() -> None:
    found = poll([number("timeout")], SQUEUE["two minutes later"].answer)
    assert found[number("timeout")] == Gone(
        outcome=Outcome.TIMEOUT, evidence="squeue says TIMEOUT, TimeLimit"
    )


def test_a_requeued_job_is_the_same_one_on_its_way_back() -> None:
    states = [
        poll([number("requeued")], SQUEUE[title].answer)[number("requeued")]
        for title in ("jobs of all kinds", "two minutes later")
    ]
    assert [state.phase for state in states if isinstance(state, Known)] == [
        JobPhase.PENDING,
        JobPhase.RUNNING,
    ]


@pytest.mark.parametrize(
    ("name", "by"),
    [("cancelled-self", "CANCELLED by uid 2001"), ("cancelled-admin", "CANCELLED by root (uid 0)")],
)
def test_who_cancelled_a_job_is_asked_of_accounting(
    name: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pwd, "getpwuid", nobody_but_root)
    ended = SACCT["jobs that have ended"].answer
    found = poll([number(name)], SQUEUE["jobs of all kinds"].answer, ended)
    assert found[number(name)] == Gone(
        outcome=Outcome.CANCELLED,
        evidence=f"sacct says {by}",
        by=by.removeprefix("CANCELLED by ").removesuffix(" (uid 0)"),
    )


def nobody_but_root(uid: int) -> object:
    class Root:
        pw_name = "root"

    if uid:
        raise KeyError(uid)
    return Root


@pytest.mark.parametrize(
    "accounting", [SACCT["the database is gone"].answer, NOBODY_THERE, TIMEOUT, MISSING]
)
def test_a_cancelled_job_is_over_whatever_accounting_says(accounting: Replies) -> None:
    name = number("cancelled-admin")
    found = poll([name], SQUEUE["jobs of all kinds"].answer, accounting)
    assert found[name] == Gone(outcome=Outcome.CANCELLED, evidence="squeue says CANCELLED")


def test_two_hundred_jobs_cost_one_call() -> None:
    rows = [f"{n}\x1fPENDING\x1fN/A\x1f5:00\x1fn/a\x1fPriority\x1e\n" for n in range(1, 201)]
    found = poll([str(n) for n in range(1, 201)], Answer(0, "".join(rows)))
    assert {type(status) for status in found.values()} == {Known}
    assert len(found) == 200


@pytest.mark.parametrize(
    ("name", "outcome", "exit_code", "evidence"),
    [
        ("completed", Outcome.COMPLETED, 0, "sacct says COMPLETED"),
        ("failed", Outcome.FAILED, 3, "sacct says FAILED"),
        ("segv", Outcome.FAILED, None, "sacct says FAILED"),
        ("launch", Outcome.FAILED, None, "sacct says FAILED"),
        ("oom", Outcome.OUT_OF_MEMORY, None, "sacct says OUT_OF_MEMORY"),
        ("timeout", Outcome.TIMEOUT, None, "sacct says TIMEOUT"),
        ("node-fail", Outcome.NODE_FAILED, None, "sacct says NODE_FAIL"),
    ],
)
def test_a_job_that_squeue_forgot_is_asked_of_accounting(
    name: str, outcome: Outcome, exit_code: int | None, evidence: str
) -> None:
    found = poll([number(name)], NOBODY_THERE, SACCT["jobs that have ended"].answer)
    assert found[number(name)] == Gone(outcome=outcome, exit_code=exit_code, evidence=evidence)


def test_only_the_doubtful_are_asked_of_accounting() -> None:
    ids = [number("running"), "999999", number("completed")]
    queue = SQUEUE["jobs of all kinds"].answer
    found = poll(ids, queue, SACCT["a job that never was"].answer, asked=["999999"])
    assert isinstance(found[number("running")], Known)
    assert isinstance(found[number("completed")], Gone)
    assert isinstance(found["999999"], Unknown)


@pytest.mark.parametrize(
    ("accounting", "told"),
    [
        (SACCT["a job that never was"].answer, "neither squeue nor sacct knows it"),
        (SACCT["jobs that live"].answer, "sacct still says 'RUNNING'"),
        (SACCT["the database is gone"].answer, "Connection refused"),
        (SACCT["the database hangs"].answer, "Problem talking to the database"),
        (TIMEOUT, "did not answer"),
        (MISSING, "is not on the PATH"),
        (Answer(1, "Slurm accounting storage is disabled\n", ""), "accounting storage is disabled"),
        (Answer(0, "10\x1fALLOCATED\x1f0:0\n"), "'ALLOCATED'"),
    ],
)
@pytest.mark.parametrize("queue", [NOBODY_THERE, SQUEUE["a user without jobs"].answer])
def test_that_a_job_is_not_there_is_no_evidence(
    queue: Answer, accounting: Replies, told: str
) -> None:
    status = poll(["10"], queue, accounting)["10"]
    assert isinstance(status, Unknown)
    assert told in status.reason


@pytest.mark.parametrize("accounting", [NOBODY_THERE, SACCT["the database is gone"].answer])
def test_with_its_agents_word_a_forgotten_job_is_over(accounting: Answer, tmp_path: Path) -> None:
    started = {"time": 1.0, "event": "started"}
    ended = {
        "time": 2.0,
        "event": "ended",
        "reason": "you shut it down",
        "cause": "application-exit",
    }
    log = tmp_path / "events.jsonl"
    log.write_text(json.dumps(started) + "\n")
    assert isinstance(poll(["10"], NOBODY_THERE, accounting, session_dir=tmp_path)["10"], Unknown)
    log.write_text(json.dumps(started) + "\n" + json.dumps(ended) + "\n")
    found = poll(["10"], NOBODY_THERE, accounting, session_dir=tmp_path)["10"]
    assert isinstance(found, Gone)
    assert found.outcome is Outcome.ENDED
    assert "you shut it down" in found.evidence
    # While Slurm has the job the agent's word changes nothing: it is still to be cleaned up.
    queue = SQUEUE["jobs of all kinds"].answer
    assert isinstance(poll(["10"], queue, session_dir=tmp_path)["10"], Known)


def test_a_forgotten_job_does_not_outlive_its_walltime(tmp_path: Path) -> None:
    def status(started: float) -> JobStatus:
        event = {"time": started, "event": "started"}
        (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n")
        return poll(["10"], NOBODY_THERE, NOBODY_THERE, session_dir=tmp_path)["10"]

    assert isinstance(status(1.0), Unknown)  # nothing tells its walltime
    (tmp_path / "launch.json").write_text(json.dumps({"walltime": 1800}))
    assert isinstance(status(time.time() - 1800), Unknown)
    assert status(time.time() - 1800 - 3700) == Gone(
        outcome=Outcome.ENDED, evidence="squeue shows it no more, and its walltime is long over"
    )


@pytest.mark.parametrize(
    ("queue", "told"),
    [
        (SQUEUE["the controller is gone"].answer, "Unable to contact slurm controller"),
        (SQUEUE["the controller hangs"].answer, "Socket timed out"),
        (SQUEUE["munge is down"].answer, "Munge encode failed"),
        (SQUEUE["a host without Slurm's configuration"].answer, "Could not establish"),
        (SQUEUE["one id that is forgotten"].answer, "Invalid job id specified"),
        (SQUEUE["no such user"].answer, "Invalid user"),  # exit code 0, and only stderr
        (Answer(0, "", "slurm_load_jobs error: Socket timed out on send/recv operation\n"), "timed out"),
        (Answer(1, "", ""), "exits with 1"),
        (TIMEOUT, "did not answer"),
        (MISSING, "not on the PATH"),
    ],
)  # fmt: skip
def test_a_squeue_that_does_not_answer_concludes_nothing(queue: Replies, told: str) -> None:
    """And nobody else is asked: accounting hears of everything later."""
    found = poll(["10", "11"], queue)
    assert set(found) == {"10", "11"}
    for status in found.values():
        assert isinstance(status, Unknown)
        assert told in status.reason
        assert "\n" not in status.reason


def test_a_warning_beside_the_answer_changes_nothing() -> None:
    jobs = SQUEUE["jobs of all kinds"].answer
    noisy = Answer(0, "Welcome!\n" + jobs.stdout, "squeue: warning: something is deprecated\n")
    for name in ("cancelled-self", "running", "next"):
        accounting = NOBODY_THERE if name == "cancelled-self" else None
        ids = [number(name)]
        assert poll(ids, noisy, accounting) == poll(ids, jobs, accounting)


# Cancelling


def cancel(reply: Replies) -> bool:
    shell = RecordedShell({tuple(commands.cancel("10")): reply})
    return slurm.rps_cancel(job=job("10"), shell=shell)


def test_cancelling() -> None:
    assert cancel(SCANCEL["a job that runs"].answer) is True
    assert cancel(SCANCEL["a job that has ended"].answer) is False
    assert cancel(SCANCEL["a job that never was"].answer) is False


@pytest.mark.parametrize(
    ("title", "told", "transient"),
    [
        ("another user's job", "Access/permission denied", False),
        ("the controller is gone", "Unable to contact slurm controller", True),
        ("the controller hangs", "Socket timed out", True),
    ],
)
def test_what_cannot_be_cancelled(title: str, told: str, transient: bool) -> None:
    with pytest.raises(SchedulerError, match=told) as caught:
        cancel(SCANCEL[title].answer)
    assert caught.value.transient is transient


@pytest.mark.parametrize("odd", ["", "-u", "all", "10 11", "10;comet", "\u0661\u0660"])
def test_nothing_but_an_id_is_cancelled(odd: str) -> None:
    shell = every_command(Answer())
    with pytest.raises(SchedulerError, match="no id of a Slurm job"):
        slurm.rps_cancel(job=job(odd), shell=shell)
    assert shell.calls == []


# The default account


def account(reply: Replies) -> str | None:
    return slurm.rps_default_allocation(
        shell=RecordedShell({tuple(commands.default_account()): reply})
    )


def test_the_default_account() -> None:
    known = SACCTMGR["a user with a default account"].answer
    assert account(known) == "abc123"
    assert account(Answer(0, f"Welcome!\n{known.stdout}")) == "abc123"


@pytest.mark.parametrize(
    "reply",
    [
        SACCTMGR["a user without an account"].answer,
        SACCTMGR["the database is gone"].answer,
        SACCTMGR["munge is down"].answer,
        Answer(1, "You are not running a supported accounting_storage plugin\n"),
        Answer(0, "(null)\n"),
        TIMEOUT,
        MISSING,
    ],
)
def test_without_accounting_sbatch_knows_the_account(reply: Replies) -> None:
    assert account(reply) is None


@pytest.mark.parametrize(
    ("title", "cause"),
    [
        ("no such account", "no-account"),
        ("no such partition", "no-partition"),
        ("the partition is down", "no-partition"),
        ("time above the limit", "queue-limit"),
        ("too much memory", "too-much"),
        ("too many GPUs", "too-much"),
        ("no such QoS", "refused"),
    ],
)
def test_a_refusal_has_a_word(spec: SessionSpec, title: str, cause: str) -> None:
    error, _ = submit(spec, sbatch=SBATCH[title].answer)
    assert isinstance(error, SchedulerError)
    assert error.cause == cause
    assert cause in OVER


def test_a_limit_of_jobs_has_a_word_too(spec: SessionSpec) -> None:
    told = (
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit "
        "limit, user's size and/or time limits)\n"
    )
    error, _ = submit(spec, sbatch=Answer(1, "", told))
    assert isinstance(error, SchedulerError)
    assert error.cause == "queue-limit"


def test_the_controllers_silence_has_a_word(spec: SessionSpec) -> None:
    found = poll(["7"], TIMEOUT)["7"]
    assert isinstance(found, Unknown)
    assert found.cause == "scheduler-away"
    told = (
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller "
        "(connect failure)\n"
    )
    error, _ = submit(spec, sbatch=Answer(1, "", told), squeue=TIMEOUT, sacct=TIMEOUT)
    assert isinstance(error, SchedulerError)
    assert error.cause == "scheduler-away"


def test_what_slurm_tells_of_one_job() -> None:
    """The controller and accounting; what is forgotten is no line, who does not answer is one."""
    job_id = "7"
    shell = RecordedShell(
        {
            tuple(commands.waiting(job_id)): Answer(
                1, "", "slurm_load_jobs error: Invalid job id specified\n"
            ),
            tuple(commands.story(job_id)): TIMEOUT,
        }
    )
    told = slurm.rps_testimony(job=job(job_id, Path("/nowhere")), shell=shell)
    assert [one.source for one in told] == ["sacct"]
    assert "did not answer" in told[0].line


# One record out of many


def test_an_absurd_id_costs_the_others_nothing() -> None:
    absurd = ["4294967298", "99999999999999999999", "17_[1-3]", "-5", "a", "", "17;comet"]
    found = poll(
        ["17", *absurd, "10"],
        SQUEUE["jobs of all kinds"].answer,
        SACCT["jobs that have ended"].answer,
        asked=["17"],
    )
    assert isinstance(found["10"], Known)
    assert isinstance(found["17"], Gone)
    assert found["17"].by
    for one in absurd:
        assert found[one] == Unknown(reason=f"{one!r} is no id of a Slurm job")


def test_many_ids_are_asked_for_in_several_calls() -> None:
    """Linux takes no argument of more than 128 KiB; and where one call fails, the others hold."""
    ids = [str(67_000_000 + number) for number in range(2 * slurm.IDS_AT_ONCE)]
    first, last = ids[: slurm.IDS_AT_ONCE], ids[slurm.IDS_AT_ONCE :]
    over = "".join(f"{one}\x1fCOMPLETED\x1f0:0\n" for one in first)
    shell = RecordedShell(
        {
            tuple(commands.queue()): Answer(),
            tuple(commands.accounting(first)): Answer(0, over),
            tuple(commands.accounting(last)): TIMEOUT,
        }
    )
    found = slurm.rps_poll(jobs=[job(one) for one in ids], shell=shell)
    assert all(isinstance(found[one], Gone) for one in first)
    assert all(isinstance(found[one], Unknown) for one in last)
    assert max(len(word) for call in shell.calls for word in call) < 128 << 10
