"""Whether the job computes on its GPUs, by recorded output of real cards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rps_core.node.agent import gpus
from rps_core.node.agent.gpus import Gpus
from tests.stands.cares import StandIn
from tests.unit.rps_core.node.agent.recorded_gpus import (
    AMD,
    AMD_HOLDS_MEMORY,
    AMD_UNKNOWN,
    NVIDIA_390,
    NVIDIA_MIG,
    NVIDIA_MIG_PERCENT,
)

PERCENT = "nvidia-smi --id"
MIG = "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f"
COMPUTES = "a GPU computes"
Look = Callable[..., tuple[StandIn, Gpus]]


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Look:
    """Return a function that makes the job's GPUs: its processes, and those that the host shows."""
    monkeypatch.setenv("PATH", "")

    def make(own: set[int], here: set[int] | None = None, **variables: str) -> tuple[StandIn, Gpus]:
        shown = own if here is None else here
        monkeypatch.setattr(gpus, "descendants", lambda _root: dict.fromkeys(own, 1))
        monkeypatch.setattr(gpus, "_is_here", lambda pid: pid in shown)
        for name in ("CUDA_VISIBLE_DEVICES", *gpus._AMD_VARIABLES):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        stand = StandIn()
        part: Any = stand
        return stand, Gpus(part)

    return make


@pytest.mark.parametrize(
    ("visible", "answer", "work"),
    [
        ("0,1", "0\n0\n", ""), ("0,1", "0\n87\n", COMPUTES), ("", "50\n", ""),
        ("NoDevFiles", "9\n", ""), ("GPU-5f2a", "3\n", COMPUTES), ("0", None, ""), ("0;rm", "9\n", ""),
    ],
)  # fmt: skip
def test_the_percentage_of_whole_gpus(
    look: Look, visible: str, answer: str | None, work: str
) -> None:
    stand, one = look(set(), CUDA_VISIBLE_DEVICES=visible)
    stand.answers = {PERCENT: answer}
    assert one.at_work() == work
    if work:
        assert stand.asked[0][1] == f"--id={visible}"


@pytest.mark.parametrize(
    ("visible", "asked"), [(MIG, False), ("1", True), ("MIG-GPU-63fe/1/0", False)]
)
def test_a_part_of_a_gpu_is_idle_while_its_processes_change_nothing(
    look: Look, visible: str, asked: bool
) -> None:
    """Test that neither `[N/A]` nor another job's GPU at 58 % counts as work for ever."""
    stand, one = look({42152, 1}, CUDA_VISIBLE_DEVICES=visible)
    stand.answers = {PERCENT: NVIDIA_MIG_PERCENT, "nvidia-smi": NVIDIA_MIG}
    assert one.at_work() == "process 42152 uses a GPU"  # it was not there before
    assert one.at_work() == ""
    assert any("--query-gpu=utilization.gpu" in command for command in stand.asked) == asked
    stand.answers["nvidia-smi"] = NVIDIA_MIG.replace("  149MiB", " 8149MiB")
    assert one.at_work() == "process 42152 uses a GPU"
    assert one.at_work() == ""
    stand.answers["nvidia-smi"] = NVIDIA_MIG.replace("42152", "42153")  # another job's
    assert one.at_work() == ""


def test_a_part_of_a_gpu_without_processes_of_the_job(look: Look) -> None:
    stand, one = look({1, 2}, CUDA_VISIBLE_DEVICES=MIG)
    stand.answers = {"nvidia-smi": NVIDIA_MIG}
    assert one.at_work() == ""


EVERY = {23824, 33724, 34965, 42152, 46505, 26294, 46064}


@pytest.mark.parametrize(
    ("own", "here", "work"),
    [
        ({23824}, EVERY, COMPUTES),
        (set(), EVERY, ""),  # all are other jobs'
        (set(), EVERY - {23824}, COMPUTES),  # hidden, or a container's number: it could be ours
    ],
)
def test_a_gpu_that_other_jobs_use_too(
    look: Look, own: set[int], here: set[int], work: str
) -> None:
    stand, one = look(own, here, CUDA_VISIBLE_DEVICES="0")
    stand.answers = {PERCENT: "58\n", "nvidia-smi": NVIDIA_MIG}
    assert one.at_work() == work


def test_the_table_of_drivers_before_450(look: Look) -> None:
    stand, one = look({4910}, CUDA_VISIBLE_DEVICES="0")
    # GPUs of that time without a percentage answer so.
    stand.answers = {PERCENT: "[Not Supported]\n", "nvidia-smi": NVIDIA_390}
    assert one.at_work() == "process 4910 uses a GPU"
    assert one.at_work() == ""
    last = NVIDIA_390.rpartition("2203MiB")  # of one of its three GPUs
    stand.answers["nvidia-smi"] = last[0] + "2205MiB" + last[2]
    assert one.at_work() == "process 4910 uses a GPU"


def test_an_nvidia_smi_that_fails_half_way(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    stand, one = look({1}, CUDA_VISIBLE_DEVICES="0")
    stand.answers = {PERCENT: "58\n", "nvidia-smi": None}
    assert one.at_work() == COMPUTES
    stand.answers = {PERCENT: NVIDIA_MIG_PERCENT, "nvidia-smi": None}
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    assert one.at_work() == "nvidia-smi does not answer"


@pytest.mark.parametrize(
    ("own", "table", "first", "later"),
    [
        ({1168514}, AMD, "process 1168514 computes on a GPU", "process 1168514 computes on a GPU"),
        ({3722222}, AMD, "process 3722222 uses a GPU", ""),
        ({1}, AMD, "", ""),
        ({55571}, AMD_UNKNOWN, "process 55571 uses a GPU", ""),
        ({132174}, AMD_HOLDS_MEMORY, "process 132174 uses a GPU", ""),
    ],
)
def test_processes_of_the_job_on_amd_gpus(
    look: Look, own: set[int], table: str, first: str, later: str
) -> None:
    stand, one = look(own, ROCR_VISIBLE_DEVICES="0")
    stand.answer = table
    assert one.at_work() == first
    assert one.at_work() == later
    assert stand.asked == [["rocm-smi", "--showpids"]] * 2


def test_an_amd_gpu_at_work_by_its_counters(look: Look) -> None:
    stand, one = look({132174}, HIP_VISIBLE_DEVICES="0,1")
    stand.answer = AMD_HOLDS_MEMORY
    assert one.at_work()
    stand.answer = AMD_HOLDS_MEMORY.replace("\t0        \t0  ", "\t3        \t0  ")  # SDMA
    assert one.at_work() == "process 132174 uses a GPU"


def test_a_job_without_gpus_asks_nothing(look: Look) -> None:
    stand, one = look({1})
    assert one.at_work() == ""
    assert stand.asked == []
