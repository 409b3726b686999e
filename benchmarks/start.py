"""CPU of `rps start --no-wait` while a personal service runs: of the command and the children that it
waits for, not of the job that goes on (a real JupyterLab, stopped before the next start);
median of 7."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import run_measured
from benchmarks.report import Row, at_most
from rps_proxy.personal.running import DIRECTORY_VARIABLE, RUNNING_FILE, process_start_time

NEEDS: tuple[str, ...] = ()
LIMIT = 0.35
TIMES = 7


def measure(scratch: Path) -> list[Row]:
    """Measure starts; the first one starts the service, and is not counted."""
    script = str(Path(sys.executable).with_name("rps"))
    with own_home(scratch / "start", script) as env:
        command = [script, "start", "--no-wait", "--quiet"]
        run_measured(command, env)
        cpu = []
        for _ in range(TIMES):
            stop_all(script, env)
            cpu.append(run_measured(command, env))
    return [at_most("`rps start --no-wait`", statistics.median(cpu), LIMIT, "s")]


@contextmanager
def own_home(scratch: Path, script: str) -> Iterator[dict[str, str]]:
    """Return a new user's environment for `script`; end sessions and service at last."""
    home, directory = scratch / "home", scratch / "service"
    home.mkdir(parents=True)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("RPS_", "XDG_"))}
    env |= {
        "HOME": str(home),
        DIRECTORY_VARIABLE: str(directory),
        "RPS_CLUSTER": "local",  # there may be a scheduler here, which is not to be asked
        "PATH": f"{Path(script).parent}:{env['PATH']}",
    }
    try:
        yield env
    finally:
        stop_all(script, env)
        _end_service(directory)


def stop_all(script: str, env: Mapping[str, str]) -> None:
    """End the user's sessions."""
    command = [script, "stop", "--all"]
    subprocess.run(command, env=env, cwd=env["HOME"], check=True, capture_output=True)


def _end_service(directory: Path) -> None:
    """End the service by the pid in its file, if that is the same process."""
    try:
        running = json.loads((directory / RUNNING_FILE).read_text())
    except FileNotFoundError:
        return
    pid, start_time = running["pid"], running["start_time"]
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + 10
        if process_start_time(pid) == start_time:
            os.kill(pid, number)
        while process_start_time(pid) == start_time and time.monotonic() < deadline:
            time.sleep(0.05)
