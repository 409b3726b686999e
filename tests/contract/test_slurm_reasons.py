"""Each reason in Slurm's source has a cause, a text, and whether it can end."""

from __future__ import annotations

import re

import pytest

from rps_core.diagnosis.causes import LIVING, OVER
from rps_core.jobs import Known
from rps_core.protocol import Cause
from rps_core.schedulers.slurm import answers
from rps_core.schedulers.slurm.answers import Queued
from rps_core.schedulers.slurm.reasons import advice_for, cause_of, in_plain_words
from tests.contract.transcripts import RECORDED

# src/common/job_state_reason.c and its predecessor, 17.11 to 25.11.
REASONS = [
    line.split("\t")[0]
    for line in (RECORDED / "slurm/reasons.txt").read_text().splitlines()
    if not line.startswith("#")
]
NO_REASON = "None"  # WAIT_NO_REASON


def waiting(raw: str) -> Known:
    found = answers.status_in_queue(Queued("PENDING", "N/A", "1:00:00", "n/a", raw), "7")
    assert isinstance(found, Known)
    return found


def test_the_list_is_slurms() -> None:
    assert len(REASONS) == len(set(REASONS)) > 200
    assert {"MaxCpuPerAccount", "QOSMinCpuNotSatisfied", "NvidiaImexChannels"} <= set(REASONS)


@pytest.mark.parametrize("raw", [one for one in REASONS if one != NO_REASON])
def test_each_reason_has_a_cause_and_plain_words(raw: str) -> None:
    found = waiting(raw)
    assert found.cause in {**LIVING, **OVER}
    assert found.cause not in (None, Cause.WAITING, Cause.UNKNOWN)
    assert found.reason
    assert found.reason != raw
    assert found.raw_reason == raw
    assert found.reason.endswith("can never start") is (found.cause in ("never", "no-account"))


@pytest.mark.parametrize(
    "raw", ["InvalidAccount", "InvalidQOS", "QOSNotAllowed", "AccountNotAllowed", "BadConstraints",
            "DependencyNeverSatisfied", "PartitionNodeLimit", "PartitionTimeLimit", "PartitionConfig",
            "MaxMemPerLimit", "DeadLine", "QOSMaxCpuPerJobLimit", "QOSMaxWallDurationPerJobLimit",
            "AssocMaxMemPerNode", "AssocMaxCpuMinutesPerJobLimit", "QOSMinCpuNotSatisfied", "QOSMinGRES"]
)  # fmt: skip
def test_what_never_ends_says_so(raw: str) -> None:
    assert in_plain_words(raw).endswith("this job can never start")
    assert raw in REASONS


@pytest.mark.parametrize(
    ("raw", "advice"),
    [
        ("QOSMinCpuNotSatisfied", "Request more cores (-c)"),
        ("QOSMinGRES", "Request more GPUs"),
        ("QOSMaxWallDurationPerJobLimit", "Request less walltime (-t), or use another QoS"),
        ("AssocMaxMemPerJob", "Request less memory (-m), or use another account"),
        ("AssocGrpCPUMinutesLimit", "Use another account (-A), or ask"),
        ("QOSMaxSubmitJobPerUserLimit", "end one of yours (`rps list`, `rps stop`)"),
        ("MaxCpuPerAccount", "Wait until some of them end"),
    ],
)
def test_the_advice_is_that_of_the_limit(raw: str, advice: str) -> None:
    assert advice in (advice_for("7", raw) or "")


@pytest.mark.parametrize("raw", [one for one in REASONS if "Min" in one and "Minu" not in one])
def test_a_minimum_is_never_answered_with_less(raw: str) -> None:
    if re.match("QOSMin", raw):
        assert "less" not in (advice_for("7", raw) or "")
        assert cause_of(raw) == "never"


@pytest.mark.parametrize(
    ("raw", "cause", "words"),
    [  # src/slurmctld (partition_mgr.c of 22.05, node_scheduler.c, job_mgr.c, read_config.c, reservation.c),
        # src/plugins/burst_buffer, of 25.11
        ("Job's account not permitted to use this partition (gpu allows abc not def)", "no-account",
         "its account may not use this partition; this job can never start"),
        ("Job's account not permitted to use this partition (gpu denies abc,def including def)",
         "no-account", "its account may not use this partition; this job can never start"),
        ("Job's QOS not permitted to use this partition (gpu allows high not normal)", "never",
         "its QoS may not be used here; this job can never start"),
        ("Job's QOS not known, so it can't use this partition (gpu allows high)", "never",
         "its QoS may not be used here; this job can never start"),
        ("uid 1000 not in group permitted to use this partition (gpu). groups allowed: a,b", "never",
         "its partition does not allow such a job; this job can never start"),
        ("License request 'matlab:3' is no longer valid, holding job", "held",
         "an administrator holds it"),
        ("Reservation night was deleted", "held", "its reservation was deleted"),
        ("launch failed requeued held", "held", "it could not be started on its node"),
        ("launch failure limit exceeded requeued held", "held", "it could not be started on its node"),
        ("user env retrieval failed requeued held", "held", "it could not be started on its node"),
        ("job requeued in special exit state", "held", "it was requeued and is held"),
        ("RaisedSignal:9(Killed)", "held", "its last run was killed by a signal"),
        ("burst_buffer/lua: slurm_bb_setup: no space", "held",
         "an operation of its burst buffer failed"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-2]", "nodes-unavailable",
         "a node that it needs is not available"),
    ],
)  # fmt: skip
def test_the_sentences_in_place_of_a_reason(raw: str, cause: str, words: str) -> None:
    found = waiting(raw)
    assert (found.cause, found.reason, found.raw_reason) == (cause, words, raw)


@pytest.mark.parametrize(
    "raw", ["SomethingNew", "Something new, of Slurm 31", "QOSMaxQubitPerUser"]
)
def test_an_unknown_reason_is_quoted(raw: str) -> None:
    found = waiting(raw)
    assert (found.cause, found.reason, found.raw_reason, found.advice) == (None, raw, raw, None)


def test_without_a_reason_there_is_none() -> None:
    assert (waiting(NO_REASON).cause, waiting(NO_REASON).reason) == (None, None)
