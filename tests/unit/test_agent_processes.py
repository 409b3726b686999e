"""The node agent's processes, threads and ports."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rps_core.node.agent.events import End
from rps_core.node.agent.jupyter import check_port_range, free_port
from rps_core.node.agent.processes import descendants, send, start_ticks
from rps_core.node.agent.wake import in_thread


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def test_a_process_has_one_start_time(child: subprocess.Popen[bytes]) -> None:
    ticks = start_ticks(child.pid)
    assert ticks is not None
    assert ticks == start_ticks(child.pid)
    assert descendants(os.getpid())[child.pid] == ticks


def test_a_zombie_is_no_process(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert start_ticks(child.pid) is None
    assert child.pid not in descendants(os.getpid())


def test_a_command_may_be_called_anything(tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "1000"]) as process:
        assert descendants(os.getpid())[process.pid] == start_ticks(process.pid)
        process.kill()


def test_a_process_whose_first_thread_has_ended_still_lives() -> None:
    code = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
print("up", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        stat = Path(f"/proc/{process.pid}/stat")
        deadline = time.monotonic() + 60
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert start_ticks(process.pid) is not None
        process.kill()


def test_nothing_is_sent_to_a_reused_pid(child: subprocess.Popen[bytes]) -> None:
    ticks = start_ticks(child.pid)
    assert ticks is not None
    send(child.pid, ticks - 1, signal.SIGKILL)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.2)
    send(child.pid, ticks, signal.SIGKILL)
    assert child.wait(60) == -signal.SIGKILL


def test_without_a_thread_the_work_is_done_all_the_same() -> None:
    done: list[bool] = []
    worker = in_thread(lambda: done.append(threading.current_thread().daemon))
    assert worker is not None
    worker.join()
    size = threading.stack_size(1 << 46)  # more than there is room for
    try:
        assert in_thread(lambda: done.append(threading.current_thread().daemon)) is None
    finally:
        threading.stack_size(size)
    assert done == [True, False]


def test_a_free_port_is_within_its_range() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", [port, port]) is None
    assert free_port("127.0.0.1", [port, port]) == port
    assert free_port("127.0.0.1", None) not in (None, 0)


@pytest.mark.parametrize(
    "damaged", [7, "20000-40000", [], [20000], [1, 2, 3], [40000, 20000], [0, 9], [9, 65536],
                ["1", "2"], [1.5, 2.5], [True, 9], [None, None]],
)  # fmt: skip
def test_a_port_range_that_is_none_is_said_to_be_none(damaged: object) -> None:
    with pytest.raises(End, match="port range"):
        check_port_range(damaged)


@pytest.mark.parametrize("given", [None, [1, 65535], [20000, 20000]])
def test_a_port_range(given: object) -> None:
    check_port_range(given)
