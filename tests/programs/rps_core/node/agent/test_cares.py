"""What counts as work for the idle check.

Processes that compute, run elsewhere or hold a terminal.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rps_core.node.agent.processes import descendants
from tests.stands.cares import StandIn, idle_care_of


def test_a_process_that_computes_and_one_that_sleeps() -> None:
    watch = idle_care_of(StandIn())
    burn = "import time\nwhile time.process_time() < 0.5: pass\nprint('done', flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as busy:
        assert busy.stdout is not None
        assert busy.stdout.readline() == b"done\n"
        assert f"(process {busy.pid}) computes" in watch.process_at_work(1.0)
        assert watch.process_at_work(1.0) == ""  # it has waited for its input since then
        busy.communicate(b"\n")


@pytest.mark.parametrize(("name", "work"), [("srun", True), ("mpirun", True), ("sleep", False)])
def test_what_works_elsewhere(tmp_path: Path, name: str, work: bool) -> None:
    """Test `srun`, which sleeps while it runs work on other nodes."""
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
