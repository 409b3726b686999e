"""The agent's walltime and idle checks, without Jupyter or a scheduler."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rps_core.node.agent import idle_care, time_care, time_limit
from rps_core.node.agent.events import End
from rps_core.node.agent.idle_care import IdleCare
from rps_core.node.agent.jupyter_api import Unready
from rps_core.node.agent.time_care import TimeCare
from rps_core.node.agent.time_limit import SchedulerJob, TimeLimit, time_in
from rps_core.traits import JobTraits, TimeQuery
from tests.stands.agent import job_of
from tests.stands.cares import StandIn, idle_care_of


class Clock:
    """The agent's clocks, moved by the test; its process began at 1000 s of uptime."""

    def __init__(self) -> None:
        self.now = 1000.0

    def uptime(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    ticks = os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(time_limit, "uptime", clock.uptime)
    monkeypatch.setattr(time_limit, "start_ticks", lambda pid: 1000 * ticks)
    for module in (time_care, idle_care):
        monkeypatch.setattr(module, "log", lambda text: None)
    monkeypatch.setattr(idle_care, "time", SimpleNamespace(monotonic=clock.uptime))
    for name in ("RPS_JOB_ID", "SLURM_JOB_ID", "PBS_JOBID", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return clock


def limit_of(walltime: float | None, scheduler: str = "local") -> TimeLimit:
    return TimeLimit(walltime, SchedulerJob(job_of(scheduler)))


def care(
    stand: StandIn, walltime: float | None, before: float = 60, scheduler: str = "local"
) -> TimeCare:
    part: Any = stand
    return TimeCare(part, part, part, limit_of(walltime, scheduler), before)


def lefts(stand: StandIn) -> list[int]:
    return [fields["left"] for name, fields in stand.events if name == "time-left"]


def pattern_of(scheduler: str) -> str:
    query = SchedulerJob(job_of(scheduler)).time_query
    assert query is not None
    return str(query["pattern"])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:00", 0), ("4:05", 245), ("59:59", 3599), ("1:00:00", 3600), ("2-03:04:05", 183845),
        ("00:30:00", 1800), ("UNLIMITED", None), ("NOT_SET", None), ("INVALID", None), ("", None),
        ("12", None), ("4:05\n", 245),
    ],
)  # fmt: skip
def test_times_of_slurm(text: str, seconds: float | None) -> None:
    assert time_in(text, pattern_of("slurm")) == seconds


def test_times_in_any_units() -> None:
    """LSF prints `1:30 L`, hours and minutes, Flux plain seconds."""
    assert time_in("1:30 L", r"^(?P<hours>\d+):(?P<minutes>\d+)") == 5400
    assert time_in("7200\n", r"^(?P<seconds>\d+)$") == 7200
    assert time_in("x", r"^(?P<seconds>\d+)$") is None
    assert time_in("left: soon", r"left: (?P<seconds>\w+)") is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"id_variable": "A B"}, {"id_variable": None}, {"launchers": ["a/b"]}, {"launchers": "srun"},
        {"walltime_can_change": 1}, {"time_query": {}}, {"time_query": []},
        {"time_query": {"argv": [], "pattern": r"(?P<days>\d)", "total": False}},
        {"time_query": {"argv": ["a", 7], "pattern": r"(?P<days>\d)", "total": False}},
        {"time_query": {"argv": ["a"], "pattern": "(", "total": False}},
        {"time_query": {"argv": ["a"], "pattern": r"(?P<weeks>\d)", "total": False}},
        {"time_query": {"argv": ["a"], "pattern": r"(\d)", "total": False}},
        {"time_query": {"argv": ["a"], "pattern": r"(?P<days>\d)", "total": None}},
    ],
    ids=str,
)  # fmt: skip
def test_a_scheduler_described_in_another_form_is_refused(wrong: dict[str, Any]) -> None:
    """Test that the agent repeats the check of `JobTraits`."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        SchedulerJob({**job_of("slurm"), **wrong})


def test_a_plugin_cannot_describe_its_jobs_in_another_form() -> None:
    """Said at the launcher, where there is an author to read it."""
    for argv, pattern in (
        (("a",), "("),
        ((), "(?P<days>)"),
        (("a\nb",), "(?P<days>)"),
        (("a",), "x"),
    ):
        with pytest.raises(ValueError, match=r"argv|pattern"):
            TimeQuery(argv=argv, pattern=pattern)
    for traits in ({"job_id_variable": "A-B"}, {"job_id_variable": "A", "launchers": ("a b",)}):
        with pytest.raises(ValueError, match=r"job_id_variable|launchers"):
            JobTraits(**traits)


def run_to_the_end(clock: Clock, care: TimeCare, until: float) -> End | None:
    """Move the clock on as the agent would sleep; answers the End that came."""
    while clock.now < until:
        clock.now += max(1.0, min(care.due(), until - clock.now))
        try:
            care.attend()
        except End as end:
            return end
    return None


def test_three_warnings_and_the_end(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPS_JOB_ID", "1.local")
    stand = StandIn()
    end = run_to_the_end(clock, care(stand, 3600), 4600)
    assert lefts(stand) == [1800, 600, 120]
    assert [message["show"]["kind"] for message in stand.shown] == ["time"] * 3
    assert end is not None
    assert end.cause == "time-limit"
    assert clock.now == 4600 - 60
    assert len(stand.saved) == 1
    assert (
        stand.asked == []
    )  # the local scheduler has no command to run, and never extends a walltime


@pytest.mark.parametrize(("walltime", "messages"), [(1800, [600, 120]), (300, [120]), (200, [])])
def test_warnings_come_in_the_second_half(
    clock: Clock, walltime: float, messages: list[int]
) -> None:
    stand = StandIn()
    run_to_the_end(clock, care(stand, walltime), 1000 + walltime)
    assert lefts(stand) == messages


@pytest.mark.parametrize("shortened_at", [1000.0, 2500.0])
def test_a_limit_that_was_shortened_brings_its_warnings(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, shortened_at: float
) -> None:
    """Test a submit filter and qalter: four hours become one."""
    monkeypatch.setenv("PBS_JOBID", "1.server")
    monkeypatch.setenv("PATH", "/nowhere")
    stand = StandIn()

    def output_of(command: list[str]) -> str:
        assert command == ["qstat", "-f", "1.server"]
        hours = 1 if clock.now >= shortened_at else 4
        return f"    Resource_List.walltime = {hours:02d}:00:00\n"

    monkeypatch.setattr(stand, "output_of", output_of)
    end = run_to_the_end(clock, care(stand, 4 * 3600, scheduler="torque"), 4600)
    assert end is not None
    assert clock.now == 4600 - 60
    assert lefts(stand)[-2:] == [600, 120]
    assert 1200 <= lefts(stand)[0] <= 1800


def test_qstat_is_found_on_the_path_of_the_submission(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Test a node of a real Torque: only the login node's PATH has its commands."""
    qstat = tmp_path / "qstat"
    qstat.touch(0o700)
    monkeypatch.setenv("PBS_JOBID", "1.server")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("PBS_O_PATH", f".:/nowhere:{tmp_path}")
    asked: list[list[str]] = []
    limit_of(60, "torque").ask(lambda command: asked.append(command))
    monkeypatch.chdir(tmp_path)  # a relative entry was another directory there
    monkeypatch.setenv("PBS_O_PATH", ".")
    limit_of(60, "torque").ask(lambda command: asked.append(command))
    monkeypatch.delenv("PBS_O_PATH")
    limit_of(60, "torque").ask(lambda command: asked.append(command))
    assert [command[0] for command in asked] == [str(qstat), "qstat", "qstat"]


def test_an_end_that_was_moved_is_kept_to(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test two warnings, then an extension by an hour.

    It goes on, and is warned again.
    """
    monkeypatch.setenv("SLURM_JOB_ID", "99")
    stand = StandIn()
    true_end = 4600.0

    def output_of(command: list[str]) -> str:
        assert command == ["squeue", "--noheader", "--jobs=99", "--format=%L"]
        left = int(true_end - clock.now)
        return f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}\n"

    monkeypatch.setattr(stand, "output_of", output_of)
    watch = care(stand, 3600, scheduler="slurm")
    assert run_to_the_end(clock, watch, 4300) is None
    assert lefts(stand) == [1800, 600]
    true_end += 3600
    end = run_to_the_end(clock, watch, 9000)
    assert lefts(stand) == [1800, 600, 1800, 600, 120]
    assert [name for name, _ in stand.events][2] == "time-moved"
    assert {"withdraw": "time"} in stand.shown
    assert end is not None
    assert clock.now == true_end - 60


@pytest.mark.parametrize("answer", [None, "", "INVALID\n", "slurm_load_jobs error\n"])
def test_a_scheduler_that_says_nothing_ends_nothing(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, answer: str | None
) -> None:
    """Everything is saved at the reckoned moment, and the session goes on."""
    monkeypatch.setenv("SLURM_JOB_ID", "99")
    stand = StandIn(answer)
    assert run_to_the_end(clock, care(stand, 3600, scheduler="slurm"), 6000) is None
    assert lefts(stand) == [1800, 600, 120]
    assert len(stand.saved) == 1


def test_torque_says_a_new_walltime(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PBS_JOBID", "7.server")
    limit = limit_of(3600, "torque")
    answer = (
        "Job Id: 7.server\n    Resource_List.nodes = 1\n    Resource_List.walltime = 02:00:00\n"
    )
    stand = StandIn(answer)
    assert limit.ask(stand.output_of)
    assert stand.asked == [["qstat", "-f", "7.server"]]
    assert limit.left() == 7200


def test_slurms_early_signal_is_one_warning(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPS_JOB_ID", "1.local")
    stand = StandIn()
    watch = care(stand, 3600)
    clock.now = 4600 - 175
    stand.told_time_is_up = True
    watch.attend()
    assert lefts(stand) == [175]
    run_to_the_end(clock, watch, 4600)
    assert lefts(stand) == [175]


def test_no_more_than_a_tenth_of_the_walltime_is_given_up(clock: Clock) -> None:
    assert care(StandIn(), 60).before == 6
    assert care(StandIn(), 86400).before == 60
    assert care(StandIn(), None).before == 60


def test_without_shutdown_before_nothing_is_ended(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPS_JOB_ID", "1.local")
    stand = StandIn()
    assert run_to_the_end(clock, care(stand, 3600, before=0), 5000) is None
    assert stand.saved == []


# Idleness


@pytest.fixture
def idle(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[StandIn, IdleCare]]:
    """Return an IdleCare of ten minutes, whose processes do nothing."""
    monkeypatch.setattr(IdleCare, "process_at_work", lambda self, elapsed: "")

    def make() -> tuple[StandIn, IdleCare]:
        stand = StandIn()
        stand.api = {"/api/kernels": [kernel("idle")], "/api/rps/tabs": {"stayed": 0}}
        return stand, idle_care_of(stand)

    return make


def kernel(state: str, moment: str = "12:00") -> dict[str, str]:
    return {"id": "k", "execution_state": state, "last_activity": moment}


def pass_time(clock: Clock, care: IdleCare, seconds: float) -> None:
    until = clock.now + seconds
    while clock.now < until:
        clock.now += min(care.due(), until - clock.now)
        care.attend()


def test_announced_then_ended(clock: Clock, idle: Any) -> None:
    stand, watch = idle()
    pass_time(clock, watch, 390)
    assert stand.events == []
    pass_time(clock, watch, 30)
    assert stand.events == [("idle-warning", {"left": 180, "idle": 420})]
    with pytest.raises(End, match="10 min") as caught:
        pass_time(clock, watch, 600)
    assert caught.value.cause == "idle"
    assert clock.now == 1000 + 600
    assert len(stand.saved) == 1


@pytest.mark.parametrize(
    "work",
    [
        {"/api/kernels": [kernel("busy")]},
        {"/api/kernels": [kernel("idle", "12:10")]},
        {
            "/api/kernels": [kernel("idle")],
            "/api/terminals": [{"name": "1", "last_activity": "12:00"}],
        },
        {"/api/rps/tabs": {"stayed": 1}},
        {"/api/kernels": Unready("it does not answer")},
        {"/api/kernels": {"message": "not what it was"}},
    ],
)
def test_what_counts_as_work_cancels_the_announcement(clock: Clock, idle: Any, work: Any) -> None:
    stand, watch = idle()
    pass_time(clock, watch, 450)
    stand.api.update(work)
    pass_time(clock, watch, 30)
    assert [name for name, _ in stand.events] == ["idle-warning", "idle-over"]
    assert stand.shown[-1] == {"withdraw": "idle"}
    assert watch.idle == 0


def test_time_spent_suspended_is_not_idle(clock: Clock, idle: Any) -> None:
    stand, watch = idle()
    pass_time(clock, watch, 60)
    clock.now += 100_000
    watch.attend()
    assert watch.idle == 120
    assert stand.events == []


def test_a_gpu_that_computes_keeps_a_session(
    clock: Clock, idle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test a GPU alone, without a busy kernel, process or page."""
    stand, watch = idle()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    stand.answer = "87\n"
    pass_time(clock, watch, 2000)
    assert stand.events == []
    stand.answer = "0\n"
    with pytest.raises(End, match="no GPU") as caught:
        pass_time(clock, watch, 2000)
    assert caught.value.cause == "idle"
    assert [name for name, _ in stand.events] == ["idle-warning"]
