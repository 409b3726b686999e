"""The agent's reckoning of the job's time, and of idleness: no Jupyter, no scheduler."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rps_core.node.agent import idle_care, time_care, time_limit
from rps_core.node.agent.events import End
from rps_core.node.agent.idle_care import IdleCare
from rps_core.node.agent.jupyter_api import Unready
from rps_core.node.agent.processes import descendants
from rps_core.node.agent.time_care import TimeCare
from rps_core.node.agent.time_limit import TimeLimit, seconds_of


class StandIn:
    """The cares' side of the watch, of Jupyter's API and of the events."""

    def __init__(self, answer: str | None = None) -> None:
        self.answer = answer  # of the scheduler's command, or nvidia-smi
        self.asked: list[list[str]] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.told: list[dict[str, Any]] = []
        self.saved: list[str] = []
        self.told_time_is_up = False
        self.application = None
        self.api: dict[str, Any] = {}

    def output_of(self, command: list[str]) -> str | None:
        self.asked.append(command)
        return self.answer

    def add(self, name: str, **fields: Any) -> None:
        self.events.append((name, fields))

    def tell_tabs(self, message: dict[str, Any]) -> dict[str, Any]:
        self.told.append(message)
        return {}

    def save_tabs(self, text: str, seconds: float = 10.0) -> None:
        self.saved.append(text)

    def ask(self, path: str, body: Any = None) -> Any:
        found = self.api.get(path)
        if isinstance(found, Exception):
            raise found
        return found


class Clock:
    """The agent's clocks, moved by hand; its process began at 1000 seconds since the boot."""

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


def care(stand: StandIn, walltime: float | None, before: float = 60) -> TimeCare:
    part: Any = stand
    return TimeCare(part, part, part, TimeLimit(walltime), before)


def idle_care_of(stand: StandIn, timeout: float = 600) -> IdleCare:
    part: Any = stand
    return IdleCare(part, part, part, timeout)


def lefts(stand: StandIn) -> list[int]:
    return [fields["left"] for name, fields in stand.events if name == "time-left"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:00", 0), ("4:05", 245), ("59:59", 3599), ("1:00:00", 3600), ("2-03:04:05", 183845),
        ("00:30:00", 1800), ("UNLIMITED", None), ("NOT_SET", None), ("INVALID", None), ("", None),
        ("12", None), ("5:00\n6:00", None),
    ],
)  # fmt: skip
def test_times_of_schedulers(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


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
    assert [message["show"]["kind"] for message in stand.told] == ["time"] * 3
    assert end is not None
    assert end.cause == "time-limit"
    assert clock.now == 4600 - 60
    assert len(stand.saved) == 1
    assert stand.asked == []  # the local scheduler has nobody to ask, and moves no end


@pytest.mark.parametrize(("walltime", "told"), [(1800, [600, 120]), (300, [120]), (200, [])])
def test_warnings_come_in_the_second_half(clock: Clock, walltime: float, told: list[int]) -> None:
    stand = StandIn()
    run_to_the_end(clock, care(stand, walltime), 1000 + walltime)
    assert lefts(stand) == told


def test_an_end_that_was_moved_is_kept_to(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Warned twice, then an operator gives an hour more: nothing ends, and all is told again."""
    monkeypatch.setenv("SLURM_JOB_ID", "99")
    stand = StandIn()
    true_end = 4600.0

    def output_of(command: list[str]) -> str:
        assert command == ["squeue", "--noheader", "--jobs=99", "--format=%L"]
        left = int(true_end - clock.now)
        return f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}\n"

    monkeypatch.setattr(stand, "output_of", output_of)
    watch = care(stand, 3600)
    assert run_to_the_end(clock, watch, 4300) is None
    assert lefts(stand) == [1800, 600]
    true_end += 3600
    end = run_to_the_end(clock, watch, 9000)
    assert lefts(stand) == [1800, 600, 1800, 600, 120]
    assert [name for name, _ in stand.events][2] == "time-moved"
    assert {"withdraw": "time"} in stand.told
    assert end is not None
    assert clock.now == true_end - 60


@pytest.mark.parametrize("answer", [None, "", "INVALID\n", "slurm_load_jobs error\n"])
def test_a_scheduler_that_says_nothing_ends_nothing(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, answer: str | None
) -> None:
    """Everything is saved at the reckoned moment, and the session goes on."""
    monkeypatch.setenv("SLURM_JOB_ID", "99")
    stand = StandIn(answer)
    assert run_to_the_end(clock, care(stand, 3600), 6000) is None
    assert lefts(stand) == [1800, 600, 120]
    assert len(stand.saved) == 1


def test_torque_says_a_new_walltime(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PBS_JOBID", "7.server")
    limit = TimeLimit(3600)
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
    """An IdleCare of ten minutes, whose processes do nothing."""
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
    with pytest.raises(End, match="10 minutes") as caught:
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
    assert stand.told[-1] == {"withdraw": "idle"}
    assert watch.idle == 0


def test_time_spent_suspended_is_not_idle(clock: Clock, idle: Any) -> None:
    stand, watch = idle()
    pass_time(clock, watch, 60)
    clock.now += 100_000
    watch.attend()
    assert watch.idle == 120
    assert stand.events == []


@pytest.mark.parametrize(
    ("gpus", "answer", "work"),
    [
        ("0,1", "0\n0\n", ""), ("0,1", "0\n87\n", "a GPU computes"), ("", "50\n", ""),
        ("NoDevFiles", "9\n", ""), ("GPU-5f2a", "3\n", "a GPU computes"), ("0", None, ""),
        ("0;rm", "9\n", ""),
    ],
)  # fmt: skip
def test_gpus_of_the_job(
    clock: Clock, idle: Any, monkeypatch: pytest.MonkeyPatch, gpus: str, answer: str, work: str
) -> None:
    """There is no nvidia-smi where these tests run: it answers by a recorded form of its output."""
    stand, watch = idle()
    stand.answer = answer
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    monkeypatch.setenv("PATH", "")
    assert watch.gpu_at_work() == work
    if work:
        assert stand.asked[0][1] == f"--id={gpus}"


def test_a_gpu_that_computes_keeps_a_session(
    clock: Clock, idle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No kernel, no process and no page of it need be at work."""
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


def test_a_process_that_computes_and_one_that_sleeps() -> None:
    watch = idle_care_of(StandIn())
    burn = "import time\nwhile time.process_time() < 0.5: pass\nprint('done', flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as busy:
        assert busy.stdout is not None
        assert busy.stdout.readline() == b"done\n"
        assert f"(process {busy.pid}) computes" in watch.process_at_work(1.0)
        assert watch.process_at_work(1.0) == ""  # it waits for its input since
        busy.communicate(b"\n")


@pytest.mark.parametrize(("name", "work"), [("srun", True), ("mpirun", True), ("sleep", False)])
def test_what_works_elsewhere(tmp_path: Path, name: str, work: bool) -> None:
    """It sleeps here for as long as it has something run on other nodes."""
    program = tmp_path / name
    shutil.copy("/bin/sleep", program)
    watch = idle_care_of(StandIn())
    with subprocess.Popen([program, "60"], stdin=subprocess.DEVNULL) as process:
        try:
            assert watch.process_at_work(1000.0) == (
                f"{name} (process {process.pid}) runs" if work else ""
            )
        finally:
            process.kill()


def test_a_command_in_a_terminal_and_a_shell_that_waits() -> None:
    watch = idle_care_of(StandIn())
    ours, theirs = os.openpty()
    shell = ["setsid", "--ctty", "sh", "-c", "echo ready; read line; sleep 60; :"]
    with subprocess.Popen(shell, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        try:
            assert os.read(ours, 5) == b"ready"
            watch.process_at_work(1.0)  # what it took to start
            assert watch.process_at_work(1.0) == ""
            os.write(ours, b"go\n")
            deadline, found = time.monotonic() + 20, ""
            while (
                "sleep" not in found and time.monotonic() < deadline
            ):  # at first it is a second sh
                found = watch.process_at_work(1000.0)
            assert re.fullmatch(r"sleep \(process \d+\) runs in a terminal", found), found
        finally:
            for pid in descendants(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.kill()
            os.close(ours)
