"""Reading Slurm's texts: what no recording shows, as rows."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rps_core.jobs import Gone, Job, JobPhase, Known, Outcome, Unknown
from rps_core.schedulers.slurm import answers
from rps_core.schedulers.slurm.answers import Accounted, Queued
from rps_core.schedulers.slurm.reasons import in_plain_words
from tests.contract import transcripts
from tests.contract.own_jobs import text_in_queue

SQUEUE = transcripts.read("slurm/squeue.txt")
KINDS = text_in_queue(SQUEUE["jobs of all kinds"].answer)


def queued(state: str, *, node: str = "n1", reason: str = "None") -> Queued:
    return Queued(state=state, start="N/A", time_left="1:00", node=node, reason=reason)


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("CONFIGURING", JobPhase.PENDING), ("REQUEUED", JobPhase.PENDING),
        ("REQUEUE_FED", JobPhase.PENDING), ("REQUEUE_HOLD", JobPhase.PENDING),
        ("RESV_DEL_HOLD", JobPhase.PENDING), ("RESIZING", JobPhase.RUNNING),
        ("SIGNALING", JobPhase.RUNNING), ("STOPPED", JobPhase.SUSPENDED),
        ("STAGE_OUT", JobPhase.COMPLETING),
    ],
)  # fmt: skip
def test_rarer_states_of_a_job_that_lives(state: str, phase: JobPhase) -> None:
    status = answers.status_in_queue(queued(state), "1")
    assert isinstance(status, Known)
    assert status.phase is phase


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("PREEMPTED", Outcome.PREEMPTED), ("BOOT_FAIL", Outcome.NODE_FAILED),
        ("DEADLINE", Outcome.CANCELLED), ("NODE_FAIL", Outcome.NODE_FAILED),
    ],
)  # fmt: skip
def test_rarer_ends(state: str, outcome: Outcome) -> None:
    first = answers.status_in_queue(queued(state), "1")
    second = answers.status_in_accounting(Accounted(state=state, exit_code="0:0"))
    assert isinstance(first, Gone)
    assert isinstance(second, Gone)
    assert first.outcome is second.outcome is outcome
    assert state in first.evidence


def test_every_state_that_squeue_names_is_known_but_one() -> None:
    """Test squeue 22.05's list; a REVOKED job runs on another cluster of a federation."""
    named = (
        "PENDING,RUNNING,SUSPENDED,COMPLETED,CANCELLED,FAILED,TIMEOUT,NODE_FAIL,PREEMPTED,BOOT_FAIL,"
        "DEADLINE,OUT_OF_MEMORY,COMPLETING,CONFIGURING,RESIZING,RESV_DEL_HOLD,REQUEUED,REQUEUE_FED,"
        "REQUEUE_HOLD,REVOKED,SIGNALING,SPECIAL_EXIT,STAGE_OUT,STOPPED"
    )
    unknown = [
        state for state in named.split(",")
        if isinstance(answers.status_in_queue(queued(state), "1"), Unknown)
    ]  # fmt: skip
    assert unknown == ["REVOKED"]


@pytest.mark.parametrize(
    "state", ["", "R", "COMPLETININVALID", "EXPEDITED", "cancelled", "REVOKED", "?"]
)
def test_an_unknown_state_concludes_nothing(state: str) -> None:
    first = answers.status_in_queue(queued(state), "1")
    assert isinstance(first, Unknown)
    assert repr(state) in first.reason
    assert isinstance(answers.status_in_accounting(Accounted(state, "0:0")), Unknown)


def test_accountings_words_may_be_cut_or_longer() -> None:
    for state in ("CANCELLED by 4294967294", "CANCELLED+", "CANCELLED"):
        status = answers.status_in_accounting(Accounted(state, "0:0"))
        assert isinstance(status, Gone)
        assert status.outcome is Outcome.CANCELLED


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "SUSPENDED", "COMPLETING", "RESIZING"])
def test_a_job_that_only_accounting_believes_alive_is_unknown(state: str) -> None:
    assert isinstance(answers.status_in_accounting(Accounted(state, "0:0")), Unknown)


@pytest.mark.parametrize("node", ["n/a", "N/A", "(null)", "None assigned", "", "Unknown"])
def test_no_node(node: str) -> None:
    status = answers.status_in_queue(queued("RUNNING", node=node), "1")
    assert isinstance(status, Known)
    assert status.node is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0:00", 0), ("4:52", 292), ("30:00", 1800), ("1:05:00", 3900), ("1-02:03:59", 93839),
     ("INVALID", None), ("UNLIMITED", None), ("NOT_SET", None), ("N/A", None), ("", None),
     ("Partition_Limit", None), ("-1:00", None), ("5", None), ("٤:٥٢", None)],
)  # fmt: skip
def test_times_left(text: str, seconds: int | None) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert answers.read_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["N/A", "Unknown", "None", "(null)", "", "1795370502", "18:01:42", "x"]
)
def test_no_estimate(text: str) -> None:
    assert answers.read_time(text) is None


def test_an_estimate_is_of_this_hosts_time_zone() -> None:
    found = answers.read_time("2026-11-22T18:05:33")
    assert found == datetime(2026, 11, 22, 18, 5, 33).astimezone()
    assert found is not None
    assert found.tzinfo is not None


@pytest.mark.parametrize(
    ("printed", "ids"),
    [("3\n", "3"), ("3;comet\n", "3"), ("3;my-cluster.2\n", "3"), ("", ""), ("0\n", ""),
     ("Submitted batch job 3\n", ""), ("sbatch: 3 warnings\n", ""), ("3;\n", ""),
     ("\n\n17\n\n", "17"), ("5\nSee 12\n", "5"), ("٣\n", ""), ("3 4\n", ""), ("-3\n", ""),
     ("17\nbalance:\n12500\n", "17 12500"), ("12\n17;comet\n12500\n", "17"), ("17\n17\n", "17")],
)  # fmt: skip
def test_the_submitted_id(printed: str, ids: str) -> None:
    assert answers.submitted_ids(printed) == ids.split()


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("1", True), ("67108863", True), ("4227858433", True), ("4294967293", True),  # in federations, too
     ("4294967294", False), ("4294967296", False), ("4294967298", False),  # scontrol reads the lower bits
     ("99999999999999999999", False), ("0", False), ("007", False), ("-5", False), ("1x", False),
     ("123_4", False), ("123_[1-3]", False), ("123+0", False), ("3;comet", False), ("1,2", False),
     ("1.batch", False), ("٣", False), ("", False)],
)  # fmt: skip
def test_what_is_an_id(text: str, is_one: bool) -> None:
    assert answers.is_job_id(text) == is_one


def test_only_the_job_itself_answers_for_its_id() -> None:
    """Test tasks of an array and components of a heterogeneous job: ignored."""
    found = answers.queued_jobs(KINDS)
    assert "29" not in found
    assert {"35", "10"} <= set(found)
    assert not [job_id for job_id in found if not job_id.isdecimal()]


def test_comments_may_hold_anything() -> None:
    printed = SQUEUE["their comments"].answer.stdout
    assert answers.queued_with_tag(printed, "a|b\nc, 'd'") == "28"
    assert answers.queued_with_tag(printed, "rps:one-two-three:0a0b0c0d") == "10"
    assert answers.queued_with_tag(printed, "rps:one-two-three") is None


def test_a_line_for_the_cluster_is_passed_over() -> None:
    printed = "CLUSTER: comet\n" + KINDS
    assert answers.queued_jobs(printed) == answers.queued_jobs(KINDS)


@pytest.mark.parametrize("cut", range(0, 120, 7))
def test_an_answer_that_breaks_off_has_only_whole_jobs(cut: int) -> None:
    whole = answers.queued_jobs(KINDS)
    cut_off = answers.queued_jobs(KINDS[: -cut or None])
    assert cut_off.items() <= whole.items()


@given(st.text())
def test_no_text_is_too_odd(text: str) -> None:
    assert set(answers.queued_jobs(text)) | set(answers.own_accounted_jobs(text)) <= set(
        text.split()
    ) | {part for line in text.split() for part in line.split("\x1f")}
    answers.submitted_ids(text)
    answers.read_duration(text)
    answers.read_time(text)
    answers.read_exit_code(text)
    answers.status_in_queue(Queued(text, text, text, text, text), "1")
    answers.status_in_accounting(Accounted(text, text))
    in_plain_words(text)


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("Resources", "it is next, as soon as nodes are free"),
        ("ReqNodeNotAvail, UnavailableNodes:comet-14-02", "a node that it needs is not available"),
        ("ReqNodeNotAvail, Reserved for maintenance",
         "the nodes are reserved for maintenance that begins before it could end"),
        ("QOSMaxJobsPerUserLimit", "you have as many running jobs as its QoS allows"),
        ("AssocGrpCPURunMinutesLimit",
         "the jobs of its account hold as much time on cores as its account allows"),
        ("PartitionConfig", "its partition does not allow such a job; this job can never start"),
        ("SomethingNew, with words", "SomethingNew, with words"),
    ],
)  # fmt: skip
def test_reasons_in_plain_words(raw: str, plain: str) -> None:
    assert in_plain_words(raw) == plain
    status = answers.status_in_queue(queued("PENDING", reason=raw), "1")
    assert isinstance(status, Known)
    assert (status.reason, status.raw_reason) == (plain, raw)


WAITS = Job(id="31", tag="rps:a-b-c:0", session_dir=Path("/nowhere"), name="a")


def test_what_the_controller_has_of_a_job_that_waits() -> None:
    """Test Slurm 22.05's output, shortened.

    Values are empty, have blanks, or end a line.
    """
    line = (
        f"JobId=31 JobName=a b=c UserId=alice({os.getuid()}) Priority=0 Account=abc123 QOS=normal "
        "JobState=PENDING "
        "Reason=ReqNodeNotAvail, Reserved for maintenance Dependency=afterok:26(unfulfilled) Requeue=0 "
        "TimeLimit=00:05:00 StartTime=Unknown Partition=compute NodeList= SchedNodeList=comet-14-[01-02] "
        "Socks/Node=* NtasksPerN:B:S:C=0:0:*:* Features=(null) Power= \n"
    )
    assert answers.waiting_details(WAITS, f"Welcome!\n{line}") == [
        "Priority=0 Account=abc123 QOS=normal JobState=PENDING Reason=ReqNodeNotAvail, Reserved for "
        "maintenance Dependency=afterok:26(unfulfilled) TimeLimit=00:05:00 StartTime=Unknown "
        "Partition=compute SchedNodeList=comet-14-[01-02]"
    ]
    assert answers.waiting_details(WAITS, line.replace("PENDING", "RUNNING")) == []
    assert answers.waiting_details(WAITS, "") == []
    foreign = line.replace(f"({os.getuid()})", f"({os.getuid() + 1})")
    for other in (foreign, line.replace("JobName=a", "JobName=x")):
        assert answers.waiting_details(WAITS, other) == []


def test_accounting_tells_of_a_job_and_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test output of Slurm 22.05."""
    monkeypatch.setattr(answers, "_name", lambda uid: {2001: "alice"}.get(uid, f"uid {uid}"))
    rows = [
        ["39", "CANCELLED by 2001", "0:0", "00:00:01", "00:05:00", "200M", "", "comet-14-01"],
        ["39.batch", "CANCELLED", "0:15", "00:00:02", "", "", "100K", "comet-14-01"],
        ["40", "CANCELLED by 7", "0:0", "00:00:00", "00:05:00", "200M", "", "None assigned"],
    ]
    text = "a banner\n" + "".join("\x1f".join(row) + "\n" for row in rows)
    assert answers.accounting_details(text) == [
        "39 State=CANCELLED by alice (uid 2001) ExitCode=0:0 Elapsed=00:00:01 Timelimit=00:05:00 "
        "ReqMem=200M NodeList=comet-14-01",
        "39.batch State=CANCELLED ExitCode=0:15 Elapsed=00:00:02 MaxRSS=100K NodeList=comet-14-01",
        "40 State=CANCELLED by uid 7 ExitCode=0:0 Elapsed=00:00:00 Timelimit=00:05:00 ReqMem=200M "
        "NodeList=None assigned",
    ]
