"""Slurm's hooks with a real Slurm's answers.

Submission, polls, cancelling, accounts.
"""

from __future__ import annotations

import json
import os
import pwd
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from rps_core.cluster import ClusterContext, configuration
from rps_core.config.layers import Origin
from rps_core.config.settings import Overrides
from rps_core.diagnosis.causes import OVER
from rps_core.errors import AnotherJobError, SchedulerError, UsageError
from rps_core.jobs import Gone, Job, JobPhase, JobStatus, Known, Outcome, Submission, Unknown
from rps_core.launch import plan as planning
from rps_core.models import SessionSpec
from rps_core.schedulers.slurm import answers, commands
from rps_core.schedulers.slurm import plugin as slurm
from rps_core.system.paths import config_file
from rps_core.system.shell import Finished
from rps_core.testing import (
    MISSING,
    TIMEOUT,
    Answer,
    RecordedShell,
    Replies,
    Reply,
    SchedulerContract,
    every_command,
)
from rps_core.units import parse_walltime
from tests.contract import transcripts
from tests.contract.own_jobs import TAG, in_accounting, in_queue

SBATCH = transcripts.read("slurm/sbatch.txt")
SQUEUE = transcripts.read("slurm/squeue.txt")
SACCT = transcripts.read("slurm/sacct.txt")
SCANCEL = transcripts.read("slurm/scancel.txt")
SACCTMGR = transcripts.read("slurm/sacctmgr.txt")
NO_JOB = Answer()  # squeue or sacct without a job to show
NO_SUCH_JOB = SQUEUE["one id that is forgotten"].answer
MARK = "\x1f0123456789abcdef\x1f"
# The jobs of other users, of which none has an id of the recordings.
OTHERS: dict[str | tuple[str, ...], Replies] = {tuple(commands.all_users_queue(MARK)): NO_JOB}


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "SETTLE_TIME", 0)
    monkeypatch.setattr(answers, "random_separator", lambda: MARK)


REUSED = transcripts.read("slurm/id-reused.txt")


class TestSlurm(SchedulerContract):
    scheduler = "slurm"
    job_id = "6"
    refused = SBATCH["no such account"].answer
    prompt = "#SBATCH "
    another_job: ClassVar = {
        "squeue": REUSED["squeue: the user's jobs"].answer,
        "sacct": NO_JOB,
        "scancel": REUSED["scancel: the user's other job"].answer,
        "scontrol": REUSED["scontrol: the user's other job"].answer,
    }
    canceller = None  # scancel compares user and name itself


def test_slurms_commands_run_without_the_users_defaults() -> None:
    """Test the options and formats of each command; the configuration's path is kept."""
    variables = TestSlurm().site().command_variables()
    assert variables is not None
    defaults = ("SBATCH_PARTITION", "SLURM_JOB_ID", "SLURM_CLUSTERS", "SQUEUE_FORMAT", "SACCT_FORMAT",
                "SINFO_PARTITION", "SCONTROL_ALL", "SCANCEL_STATE", "SRUN_CPUS_PER_TASK")  # fmt: skip
    kept = {"SLURM_CONF": "/c", "SLURM_CONF_SERVER": "mgr", "PATH": "/bin"}
    given = {**dict.fromkeys(defaults, "x"), **kept, "SLURM_TIME_FORMAT": "relative"}
    assert variables.applied(given) == {**kept, "SLURM_TIME_FORMAT": "standard"}


def test_a_default_account_of_sbatch_is_a_layer_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Test the precedence below the user's file, and the note on other variables."""
    for name, text in {
        "SBATCH_ACCOUNT": "0042",
        "SBATCH_PARTITION": "debug",
        "SBATCH_QOS": "",
        "SBATCH_TIMELIMIT": "1-00:30",
        "SBATCH_GRES": "gpu:1",
        "SALLOC_ACCOUNT": "other",
        "SALLOC_QOS": "",
        "SLURM_CLUSTERS": "elsewhere",
        "SQUEUE_FORMAT": "%i",
    }.items():
        monkeypatch.setenv(name, text)
    user = config_file()
    user.parent.mkdir(parents=True)
    user.write_text("job: {partition: shared}\n")
    site = TestSlurm().site()
    loaded = configuration(site, Overrides())
    job = loaded.settings.job
    assert (job.account, job.partition, job.qos) == ("0042", "shared", None)
    assert parse_walltime(job.walltime) == timedelta(days=1, minutes=30)
    assert loaded.origins["job.account"] == Origin("scheduler's variables", "SBATCH_ACCOUNT")
    assert loaded.origins["job.partition"].layer == "user"
    here = ClusterContext(site, (), loaded, every_command(MISSING))
    assert here.unused_variables() == ["SALLOC_ACCOUNT", "SBATCH_GRES", "SLURM_CLUSTERS"]
    assert planning.plan(here, dry_run=True).account_note == "Charging 0042 (SBATCH_ACCOUNT)."
    monkeypatch.setenv("SBATCH_TIMELIMIT", "soon")
    with pytest.raises(UsageError, match=r"SBATCH_TIMELIMIT: .*`soon` is not a walltime"):
        configuration(site, Overrides())


@pytest.fixture
def spec(tmp_path: Path) -> SessionSpec:
    """Return the session whose job is in the recordings: 10, with its tag."""
    return TestSlurm().spec(tmp_path)


def job(job_id: str, session_dir: Path = Path("/nowhere")) -> Job:
    return Job(id=job_id, tag=TAG, session_dir=session_dir, name="rps-one-two-three")


def submit(spec: SessionSpec, **replies: Replies) -> tuple[str | SchedulerError, list[str]]:
    """Submit; return the result and the programs run.

    Replies are those of sbatch, squeue and sacct, by name.
    """
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
        result = slurm.rps_submit(spec=spec, script=script, shell=shell).job_id
    except SchedulerError as error:
        result = error
    return result, [call[0] for call in shell.calls]


def poll(
    ids: list[str], queue: Replies, accounting: Replies | None = None, asked: list[str] | None = None,
    session_dir: Path = Path("/nowhere"),
) -> dict[str, JobStatus]:  # fmt: skip
    """Return the statuses; `accounting` is the answer of a sacct for `asked` alone."""
    replies: dict[str | tuple[str, ...], Replies] = {
        tuple(commands.queue()): in_queue(queue),
        **OTHERS,
    }
    for one in asked or ids:
        replies[tuple(commands.one_of_any_user(one, MARK))] = NO_SUCH_JOB
    if accounting is not None:
        replies[tuple(commands.accounting(asked or ids))] = in_accounting(accounting)
    shell = RecordedShell(replies)
    found = slurm.rps_poll(jobs=[job(one, session_dir) for one in ids], shell=shell)
    assert shell.calls.count(tuple(commands.queue())) == 1
    return dict(found)


# Submission


def test_a_submission_is_one_command(spec: SessionSpec) -> None:
    assert submit(spec, sbatch=SBATCH["accepted"].answer) == ("4", ["sbatch"])
    assert submit(spec, sbatch=SBATCH["accepted, with the cluster"].answer) == ("6", ["sbatch"])
    script = spec.session_dir / "batch.sh"
    assert commands.submit(spec, script) == [
        "sbatch", "--parsable", "--ignore-pbs", "--job-name=rps-one-two-three",
        "--comment=rps:one-two-three:0a0b0c0d", str(script),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "above", ["Welcome to the 2nd cluster!\n\n", "12 nodes are down;\n", "0x77\n"]
)
def test_a_banner_above_the_id_is_passed_over(spec: SessionSpec, above: str) -> None:
    assert submit(spec, sbatch=Answer(0, f"{above}4711\n"))[0] == "4711"
    assert submit(spec, sbatch=Answer(0, f"{above}4711;comet\n\n"))[0] == "4711"


@pytest.mark.parametrize(
    ("title", "messages", "hinted"),
    [
        ("no such partition", "invalid partition specified: nosuch (Invalid partition name", "-p"),
        ("no such account", "Invalid account or account/partition combination specified", "-A"),
        ("a user without an account", "Invalid account or account/partition combination", "-A"),
        ("no such QoS", "Invalid qos specification", "--qos"),
        ("time above the limit", "Requested time limit is invalid", "-t"),
        ("too many nodes", "Node count specification invalid", "MinNodes"),
        ("too many tasks", "More processors requested than permitted", "fewer nodes or cores"),
        ("too many cores", "CPU count per node can not be satisfied (Requested node", "-c"),
        ("too much memory", "Memory specification can not be satisfied (Requested", "-m"),
        ("too many GPUs", "Requested node configuration is not available", "-g"),
        (
            "no such resource",
            "Invalid generic resource (gres) specification",
            "partition with GPUs",
        ),
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
def test_a_refusal_is_shown_whole_with_a_hint(
    spec: SessionSpec, title: str, messages: str, hinted: str
) -> None:
    error, ran = submit(spec, sbatch=SBATCH[title].answer)
    assert isinstance(error, SchedulerError)
    assert f"Slurm refused the job: {messages}" in " ".join(error.message.split())
    assert "sbatch:" not in error.message
    assert hinted in error.hint
    assert not error.transient
    assert ran == ["sbatch"]


@pytest.mark.parametrize(
    ("title", "messages"),
    [
        ("munge is down", "Munge encode failed: Failed to access"),
        ("a host without Slurm's configuration", "Could not establish a configuration source"),
    ],
)
def test_what_was_never_sent_is_not_looked_up(spec: SessionSpec, title: str, messages: str) -> None:
    error, ran = submit(spec, sbatch=SBATCH[title].answer)
    assert isinstance(error, SchedulerError)
    assert messages in error.message
    assert error.hint
    assert error.transient
    assert ran == ["sbatch"]


LOST: list[Replies] = [
    SBATCH["the controller hangs"].answer,  # the job ran after all, once slurmctld went on
    SBATCH["the controller is gone"].answer,
    SBATCH["the controller's host is unreachable"].answer,
    TIMEOUT,
    Answer(137, "", ""),  # it was killed
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
    for not_there in (NO_JOB, others):
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
    for accounting in (NO_JOB, SACCT["the database is gone"].answer, TIMEOUT, MISSING):
        error, ran = submit(spec, sbatch=lost, squeue=silence, sacct=accounting)
        assert isinstance(error, SchedulerError)
        assert error.transient
        assert "Could not find out" in error.message
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
    error, ran = submit(spec, sbatch=quiet, squeue=NO_JOB)
    assert isinstance(error, SchedulerError)
    assert ran == ["sbatch", "squeue"]


@pytest.mark.parametrize("printed", ["10\nbalance:\n12500\n", "12500\n10\n"])
def test_of_several_numbers_the_queue_knows_the_jobs(spec: SessionSpec, printed: str) -> None:
    """Test a wrapper that prints a balance beside the id: squeue finds the tag's job."""
    listed = SQUEUE["their comments"].answer
    found = submit(spec, sbatch=Answer(0, printed), squeue=listed)
    assert found == ("10", ["sbatch", "squeue"])
    error, ran = submit(spec, sbatch=Answer(0, printed), squeue=NO_JOB)
    assert isinstance(error, SchedulerError)
    assert "more than one number" in error.message
    assert ran == ["sbatch", "squeue"]


def test_an_id_beside_a_failure_is_looked_up(spec: SessionSpec) -> None:
    """Test a wrapper that fails after the submission: the job runs, and is found."""
    failed = Answer(1, "10\n", "site: accounting database is locked\n")
    listed = SQUEUE["their comments"].answer
    assert submit(spec, sbatch=failed, squeue=listed) == ("10", ["sbatch", "squeue"])
    error, ran = submit(spec, sbatch=failed, squeue=NO_JOB)
    assert isinstance(error, SchedulerError)
    assert "accounting database is locked" in error.message
    assert ran == ["sbatch", "squeue"]


def test_an_sbatch_that_tries_again_has_the_time_for_it(
    spec: SessionSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm 25.11, src/sbatch/sbatch.c: 15 retries, which sleep 1, 2, … 15 s."""
    timeouts = []

    def shell(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        timeouts.append(timeout)
        return Finished(argv, 0, "4\n", "")

    slurm.rps_submit(spec=spec, script=spec.session_dir / "batch.sh", shell=shell)
    assert timeouts[0] >= sum(range(1, 16)) + 29, "and an attempt that gets no answer takes 29 s"


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
    assert find(NO_JOB, Answer(0, fields.format(LOOKED_FOR.tag))) == {LOOKED_FOR.tag: "18"}
    assert find(NO_JOB, Answer(0, fields.format(""))) == {LOOKED_FOR.tag: "18"}
    assert find(NO_JOB, Answer(0, fields.format("rps:one-two-three:ffffffff"))) == {}


@pytest.mark.parametrize(
    "accounting", [NO_JOB, SACCT["the database is gone"].answer, TIMEOUT, MISSING]
)
def test_a_job_that_squeue_does_not_have_is_reported(accounting: Replies) -> None:
    """Test that squeue has every job that waits or runs, with or without accounting."""
    assert find(NO_JOB, accounting) == {}


@pytest.mark.parametrize("silent", [SQUEUE["the controller is gone"].answer, TIMEOUT, MISSING])
def test_where_squeue_is_silent_nothing_is_said_of_a_submission(silent: Replies) -> None:
    with pytest.raises(SchedulerError):
        find(silent, NO_JOB)


def test_living_jobs_of_ours_are_known_by_their_comments() -> None:
    shown = (
        "17\x1fRUNNING\x1frps:a-b-c:00000000\x1e\n18\x1fCANCELLED\x1frps:a-b-d:00000000\x1e\n"
        "19\x1fPENDING\x1f(null)\x1e\n20\x1fPENDING\x1frps:a-b-e:00000000\x1e\n"
    )
    shell = RecordedShell({tuple(commands.queue(answers.TAGGED_FORMAT)): Answer(0, shown)})
    assert slurm.rps_list_jobs(shell=shell) == ["17", "20"]


# Polling: the recordings name the jobs.

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
    ("next", "priority", "Priority", "other jobs have a higher priority", "2026-11-22T22:40:00"),
    ("begin", "begin-time", "BeginTime", "its begin time is in the future", "2026-11-22T22:51:19"),
    ("dependency", "dependency", "Dependency", "it waits for another job", None),
    ("never", "never", "DependencyNeverSatisfied",
     "it depends on a job that has failed; this job can never start", None),
    ("held-user", "held", "JobHeldUser", "you hold it", None),
    ("held-admin", "held", "JobHeldAdmin", "an administrator holds it", None),
    ("partition-down", "partition-down", "PartitionDown", "its partition is down", None),
    ("het", "held", "JobHeldUser", "you hold it", None),
    ("requeued", "begin-time", "BeginTime", "its begin time is in the future",
     "2026-11-22T21:53:20"),
    ("requeue-hold", "held", "job requeued in held state",
     "it was requeued and is held",
     "2026-11-22T21:53:21"),
    ("special", "held", "job requeued in held state",
     "it was requeued and is held",
     "2026-11-22T21:53:21"),
]  # fmt: skip
ADVICE = {
    "held-user": "`scontrol release {}` releases it.",
    "het": "`scontrol release {}` releases it.",
    "held-admin": "Ask the cluster's support why it is held: only they can release it.",
    "requeue-hold": "`scontrol release {}` releases it. If Slurm refuses that, ask the cluster's support.",
    "special": "`scontrol release {}` releases it. If Slurm refuses that, ask the cluster's support.",
}
ENDED = [
    ("completed", Outcome.COMPLETED, "squeue says COMPLETED"),
    ("failed", Outcome.FAILED, "squeue says FAILED, NonZeroExitCode"),
    ("launch", Outcome.FAILED, "squeue says FAILED, JobLaunchFailure"),
    ("oom", Outcome.OUT_OF_MEMORY, "squeue says OUT_OF_MEMORY, OutOfMemory"),
    ("node-fail", Outcome.NODE_FAILED, "squeue says NODE_FAIL, NodeDown"),
]


def number(name: str) -> str:
    """Return the id of a job of the recordings."""
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
    "accounting", [SACCT["the database is gone"].answer, NO_JOB, TIMEOUT, MISSING]
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
    found = poll([number(name)], NO_JOB, SACCT["jobs that have ended"].answer)
    assert found[number(name)] == Gone(outcome=outcome, exit_code=exit_code, evidence=evidence)


def test_only_the_doubtful_are_asked_of_accounting() -> None:
    ids = [number("running"), "999999", number("completed")]
    queue = SQUEUE["jobs of all kinds"].answer
    found = poll(ids, queue, SACCT["a job that never was"].answer, asked=["999999"])
    assert isinstance(found[number("running")], Known)
    assert isinstance(found[number("completed")], Gone)
    assert isinstance(found["999999"], Unknown)


@pytest.mark.parametrize(
    ("accounting", "messages"),
    [
        (SACCT["a job that never was"].answer, "neither squeue nor sacct lists the job"),
        (SACCT["jobs that live"].answer, "sacct still says 'RUNNING'"),
        (SACCT["the database is gone"].answer, "Connection refused"),
        (SACCT["the database hangs"].answer, "Problem talking to the database"),
        (TIMEOUT, "did not answer"),
        (MISSING, "is not on the PATH"),
        (Answer(1, "Slurm accounting storage is disabled\n", ""), "accounting storage is disabled"),
        (Answer(0, "10\x1fALLOCATED\x1f0:0\n"), "'ALLOCATED'"),
    ],
)
@pytest.mark.parametrize("queue", [NO_JOB, SQUEUE["a user without jobs"].answer])
def test_that_a_job_is_not_there_is_no_evidence(
    queue: Answer, accounting: Replies, messages: str
) -> None:
    status = poll(["10"], queue, accounting)["10"]
    assert isinstance(status, Unknown)
    assert messages in status.reason


@pytest.mark.parametrize("accounting", [NO_JOB, SACCT["the database is gone"].answer])
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
    assert isinstance(poll(["10"], NO_JOB, accounting, session_dir=tmp_path)["10"], Unknown)
    log.write_text(json.dumps(started) + "\n" + json.dumps(ended) + "\n")
    found = poll(["10"], NO_JOB, accounting, session_dir=tmp_path)["10"]
    assert isinstance(found, Gone)
    assert found.outcome is Outcome.ENDED
    assert "you shut it down" in found.evidence
    # While Slurm has the job, the agent's event changes nothing: Slurm is still cleaning up.
    queue = SQUEUE["jobs of all kinds"].answer
    assert isinstance(poll(["10"], queue, session_dir=tmp_path)["10"], Known)


@pytest.mark.parametrize(
    "accounting",
    [NO_JOB, Answer(1, "Slurm accounting storage is disabled\n", ""), TIMEOUT],
)
def test_without_accounting_log_and_files_are_evidence(accounting: Replies, tmp_path: Path) -> None:
    """Test a forgotten job whose agent never started."""

    def status() -> JobStatus:
        return poll(["10"], NO_JOB, accounting, session_dir=tmp_path)["10"]

    script, log = tmp_path / "batch.sh", tmp_path / "job.log"
    script.touch()
    (tmp_path / "launch.json").write_text('{"walltime": 600}')
    assert isinstance(status(), Unknown)  # it was submitted just now
    log.write_text("Welcome to the cluster\n")
    assert isinstance(status(), Unknown)  # a slow module
    log.write_text("Welcome\nrps: the module x could not be loaded\nGoodbye\n")
    gave_up = status()
    assert isinstance(gave_up, Gone)
    assert gave_up.outcome is Outcome.FAILED
    assert gave_up.evidence.endswith("its log says: rps: the module x could not be loaded")
    log.write_text("")
    os.utime(log, (time.time() - 700,) * 2)
    silent = status()
    assert isinstance(silent, Gone)
    assert silent.evidence.endswith("its agent never started, as its files show")
    log.unlink()
    assert isinstance(status(), Unknown)
    os.utime(script, (time.time() - 4300,) * 2)
    assert isinstance(status(), Gone)


def test_a_forgotten_job_does_not_outlive_its_walltime(tmp_path: Path) -> None:
    def status(started: float) -> JobStatus:
        event = {"time": started, "event": "started"}
        (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n")
        return poll(["10"], NO_JOB, NO_JOB, session_dir=tmp_path)["10"]

    assert isinstance(status(1.0), Unknown)  # its walltime is unknown
    (tmp_path / "launch.json").write_text(json.dumps({"walltime": 1800}))
    assert isinstance(status(time.time() - 1800), Unknown)
    assert status(time.time() - 1800 - 3700) == Gone(
        outcome=Outcome.ENDED,
        evidence="squeue no longer lists the job, and its walltime limit has long passed",
    )


@pytest.mark.parametrize(
    ("queue", "messages"),
    [
        (SQUEUE["the controller is gone"].answer, "Unable to contact slurm controller"),
        (SQUEUE["the controller hangs"].answer, "Socket timed out"),
        (SQUEUE["munge is down"].answer, "Munge encode failed"),
        (SQUEUE["a host without Slurm's configuration"].answer, "Could not establish"),
        (SQUEUE["one id that is forgotten"].answer, "Invalid job id specified"),
        (SQUEUE["no such user"].answer, "Invalid user"),  # exit code 0, and only stderr
        (Answer(0, "", "slurm_load_jobs error: Socket timed out on send/recv operation\n"), "timed out"),
        (Answer(1, "", ""), "exit code 1"),
        (TIMEOUT, "did not answer"),
        (MISSING, "not on the PATH"),
    ],
)  # fmt: skip
def test_a_squeue_that_does_not_answer_concludes_nothing(queue: Replies, messages: str) -> None:
    """Test that sacct is not run: accounting lags behind the controller."""
    found = poll(["10", "11"], queue)
    assert set(found) == {"10", "11"}
    for status in found.values():
        assert isinstance(status, Unknown)
        assert messages in status.reason
        assert "\n" not in status.reason


def test_a_harmless_line_beside_an_empty_answer_changes_nothing() -> None:
    """Test a line of ld.so or a banner beside squeue's empty answer.

    Accounting is queried.
    """
    line = "ERROR: ld.so: object 'libmon.so' from LD_PRELOAD cannot be preloaded: ignored.\n"
    shell = RecordedShell({tuple(commands.queue(answers.TAG_FORMAT)): Answer(0, "", line)},
                          default=Answer(0, "", line))  # fmt: skip
    submission = Submission(name="a-b-c", tag="rps:a-b-c:00000000", session_dir=Path("/nowhere"),
                            since=datetime(2026, 11, 22, 18, 0, tzinfo=UTC))  # fmt: skip
    assert slurm.rps_find_jobs(submissions=[submission], shell=shell) == {}


def test_errors_of_squeue_are_not_counted() -> None:
    """Test failed polls: the first answer after any number of them counts."""
    away = SQUEUE["the controller is gone"].answer
    queue: list[Reply] = [*[away] * 50, SQUEUE["jobs of all kinds"].answer]
    shell = RecordedShell({tuple(commands.queue()): in_queue(queue)})
    jobs = [job(number("running"))]
    polls = [slurm.rps_poll(jobs=jobs, shell=shell)[number("running")] for _ in queue]
    assert {type(status) for status in polls[:-1]} == {Unknown}
    assert isinstance(polls[-1], Known)


def test_accounting_has_less_time_to_answer_than_the_controller() -> None:
    timeouts = {}

    def shell(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        timeouts[argv[0]] = timeout
        return Finished(argv, 0, "", "")

    assert isinstance(slurm.rps_poll(jobs=[job("10")], shell=shell)["10"], Unknown)
    assert timeouts["sacct"] < timeouts["squeue"]


def test_a_warning_beside_the_answer_changes_nothing() -> None:
    jobs = SQUEUE["jobs of all kinds"].answer
    noisy = Answer(0, "Welcome!\n" + jobs.stdout, "squeue: warning: something is deprecated\n")
    for name in ("cancelled-self", "running", "next"):
        accounting = NO_JOB if name == "cancelled-self" else None
        ids = [number(name)]
        assert poll(ids, noisy, accounting) == poll(ids, jobs, accounting)


# Cancelling


def cancel(reply: Replies) -> bool:
    shell = RecordedShell({tuple(commands.cancel("10", "rps-one-two-three")): reply})
    return slurm.rps_cancel(job=job("10"), shell=shell)


def test_cancelling() -> None:
    assert cancel(SCANCEL["a job that runs"].answer) is True
    assert cancel(SCANCEL["a job that has ended"].answer) is False
    assert cancel(SCANCEL["a job that never was"].answer) is False


@pytest.mark.parametrize(
    ("title", "messages", "transient"),
    [
        ("another user's job", "Access/permission denied", False),
        ("the controller is gone", "Unable to contact slurm controller", True),
        ("the controller hangs", "Socket timed out", True),
    ],
)
def test_what_cannot_be_cancelled(title: str, messages: str, transient: bool) -> None:
    with pytest.raises(SchedulerError, match=messages) as caught:
        cancel(SCANCEL[title].answer)
    assert caught.value.transient is transient


@pytest.mark.parametrize("odd", ["", "-u", "all", "10 11", "10;comet", "\u0661\u0660"])
def test_nothing_but_an_id_is_cancelled(odd: str) -> None:
    shell = every_command(Answer())
    with pytest.raises(SchedulerError, match="not a Slurm job id"):
        slurm.rps_cancel(job=job(odd), shell=shell)
    assert shell.calls == []


# An id that slurmctld, without its state, has given to another job


def reused(job_id: str, accounting: Answer = NO_JOB, **more: Replies) -> RecordedShell:
    """Alice's jobs, of which 6 is no session's; 7 is bob's."""
    replies: dict[str | tuple[str, ...], Replies] = {
        tuple(commands.queue()): REUSED["squeue: the user's jobs"].answer,
        tuple(commands.one_of_any_user("7", MARK)): REUSED["squeue: bob's job"].answer,
        tuple(commands.one_of_any_user("777", MARK)): REUSED["squeue: no such job"].answer,
        tuple(commands.accounting([job_id])): accounting,
    }
    for title, answer in more.items():
        replies[tuple(commands.cancel(job_id, title.replace("_", "-")))] = answer
    return RecordedShell(replies)


@pytest.mark.parametrize(
    ("job_id", "whose"), [("6", "'my-simulation' of me"), ("7", "'bobs' of bob")]
)
def test_another_jobs_id_is_not_polled_as_the_sessions(
    job_id: str, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "login_name", lambda: "me")
    found = slurm.rps_poll(jobs=[job(job_id)], shell=reused(job_id))[job_id]
    assert found == Unknown(
        reason=f"the scheduler has another job {whose} with its id {job_id}", cause="id-reused"
    )


def test_accounting_keeps_both_jobs_of_an_id() -> None:
    """What it has of the session's own job counts, whatever became of the id."""
    now = "6\x1fRUNNING\x1f0:0\x1fmy-simulation\x1f\x1f2026-11-29T09:23:51\n"
    before = f"6\x1fNODE_FAIL\x1f0:0\x1frps-one-two-three\x1f{TAG}\x1f2026-11-01T10:00:00\n"
    for printed in (before + now, now + before):
        shell = reused("6", Answer(0, printed))
        assert slurm.rps_poll(jobs=[job("6")], shell=shell)["6"] == Gone(
            outcome=Outcome.NODE_FAILED, evidence="sacct says NODE_FAIL"
        )
    both = REUSED["sacct: both jobs with an id"].answer
    assert isinstance(slurm.rps_poll(jobs=[job("6")], shell=reused("6", both))["6"], Unknown)


def test_a_renamed_job_has_its_tag() -> None:
    """`scontrol update JobName=…`: it is shown, and cancelled under its name."""
    renamed = REUSED["squeue: the session's job"].answer
    renamed = Answer(0, renamed.stdout.replace("rps-one-two-three\x1f", "mine\x1f"))
    assert renamed.stdout.count("mine") == 1
    none = REUSED["scancel: the user's other job"].answer
    done = REUSED["scancel: the session's job"].answer
    shell = RecordedShell(
        {
            tuple(commands.queue()): renamed,
            tuple(commands.cancel("8", "rps-one-two-three")): none,
            tuple(commands.cancel("8", "mine")): done,
        }
    )
    assert isinstance(slurm.rps_poll(jobs=[job("8")], shell=shell)["8"], Known)
    assert slurm.rps_cancel(job=job("8"), shell=shell) is True


@pytest.mark.parametrize(("job_id", "title"), [("6", "the user's other job"), ("7", "bob's job")])
def test_another_job_with_the_id_is_not_cancelled(job_id: str, title: str) -> None:
    """Test scancel's options: without user and name it cancels any job of the user."""
    for command in (commands.cancel(job_id, "rps-a"), commands.cancel(job_id, "")):
        assert command[2].startswith("--user=")
        assert command[3].startswith("--name=")
    shell = reused(job_id, rps_one_two_three=REUSED[f"scancel: {title}"].answer)
    with pytest.raises(AnotherJobError, match=f"another job .* with its id {job_id}") as caught:
        slurm.rps_cancel(job=job(job_id), shell=shell)
    assert caught.value.cause == "id-reused"
    assert [call[0] for call in shell.calls].count("scancel") == 1


def test_scancel_that_cancels_nothing_in_silence_has_cancelled_nothing() -> None:
    """Test another id with a job of the session's name: scancel 22.05 prints no error."""
    shell = reused("6", rps_one_two_three=Answer(0, "", "scancel: select/linear: init: loaded\n"))
    with pytest.raises(AnotherJobError):
        slurm.rps_cancel(job=job("6"), shell=shell)


@pytest.mark.parametrize(
    ("job_id", "title"), [("777", "no such job"), ("5", "a job that has ended")]
)
def test_a_job_that_scancel_does_not_find_has_ended(job_id: str, title: str) -> None:
    shell = reused(job_id, rps_one_two_three=REUSED[f"scancel: {title}"].answer)
    assert slurm.rps_cancel(job=job(job_id), shell=shell) is False


def test_the_session_in_an_allocation_is_older_than_no_allocation() -> None:
    """Test an allocation: its name is the user's, and it is older than the session."""
    submitted = datetime(2026, 11, 29, 9, 23, 51).astimezone()
    for joined, kind in ((submitted, Known), (submitted - timedelta(hours=1), Unknown)):
        within = replace(job("6"), joined=joined)
        assert isinstance(slurm.rps_poll(jobs=[within], shell=reused("6"))["6"], kind)


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
    messages = (
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit "
        "limit, user's size and/or time limits)\n"
    )
    error, _ = submit(spec, sbatch=Answer(1, "", messages))
    assert isinstance(error, SchedulerError)
    assert error.cause == "queue-limit"


def test_the_controllers_silence_has_a_word(spec: SessionSpec) -> None:
    found = poll(["7"], TIMEOUT)["7"]
    assert isinstance(found, Unknown)
    assert found.cause == "scheduler-away"
    messages = (
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller "
        "(connect failure)\n"
    )
    error, _ = submit(spec, sbatch=Answer(1, "", messages), squeue=TIMEOUT, sacct=TIMEOUT)
    assert isinstance(error, SchedulerError)
    assert error.cause == "scheduler-away"


def test_what_slurm_tells_of_one_job() -> None:
    """Test controller and accounting: a forgotten job has no line, a timeout has one."""
    job_id = "7"
    shell = RecordedShell(
        {
            tuple(commands.waiting(job_id)): Answer(
                1, "", "slurm_load_jobs error: Invalid job id specified\n"
            ),
            tuple(commands.story(job(job_id))): TIMEOUT,
        }
    )
    messages = slurm.rps_job_details(job=job(job_id), shell=shell)
    assert [one.source for one in messages] == ["sacct"]
    assert "did not answer" in messages[0].line


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
        assert found[one] == Unknown(reason=f"{one!r} is not a Slurm job id")


def test_many_ids_are_asked_for_in_several_calls() -> None:
    """Test Linux's limit of 128 KiB an argument; a call that fails affects no other."""
    ids = [str(67_000_000 + number) for number in range(2 * slurm.IDS_AT_ONCE)]
    first, last = ids[: slurm.IDS_AT_ONCE], ids[slurm.IDS_AT_ONCE :]
    over = "".join(f"{one}\x1fCOMPLETED\x1f0:0\n" for one in first)
    shell = RecordedShell(
        {
            **OTHERS,
            tuple(commands.queue()): Answer(),
            tuple(commands.accounting(first)): in_accounting(Answer(0, over)),
            tuple(commands.accounting(last)): TIMEOUT,
        }
    )
    found = slurm.rps_poll(jobs=[job(one) for one in ids], shell=shell)
    assert all(isinstance(found[one], Gone) for one in first)
    assert all(isinstance(found[one], Unknown) for one in last)
    assert max(len(word) for call in shell.calls for word in call) < 128 << 10
