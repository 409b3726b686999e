"""Processes as the node agent finds and signals them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rps_core.node.agent.processes import descendants, send, start_ticks
from tests.stands.waiting import until


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
        until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z", "the thread's end")
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
