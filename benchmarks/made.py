"""What an environment that was built before (`rps start --with six`) adds to a start: to the CPU of
`rps start --no-wait`, and on the node to the time from the agent's start to the start of Jupyter, where the
job finds the environment in the cache (`notebook.build_on: job`). Medians of 7, alternately with and without
it; the build itself, by uv or pip, is not counted."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.processes import FailedError, run_measured
from benchmarks.report import Row, at_most
from benchmarks.start import own_home, stop_all

NEEDS: tuple[str, ...] = ()
LIMIT = 0.3  # seconds, on the node
LIMIT_OF_THE_COMMAND = 0.05  # seconds of CPU
TIMES = 7
PATIENCE = 60.0  # seconds


def measure(scratch: Path) -> list[Row]:
    """Measure starts; the first of each kind starts the service, or builds, and is not counted."""
    script = str(Path(sys.executable).with_name("rps"))
    with own_home(scratch / "made", script) as env:
        plain = [script, "start", "--no-wait", "--quiet"]
        made = [*plain, "--with", "six"]
        in_the_job = [*made, "--set", "notebook.build_on=job"]
        for command in (plain, made):
            subprocess.run(command, env=env, cwd=env["HOME"], check=True, capture_output=True)
        cpu: dict[str, list[float]] = {"plain": [], "made": []}
        waited: dict[str, list[float]] = {"plain": [], "made": []}
        for _ in range(TIMES):
            for kind, command in (("plain", plain), ("made", made)):
                stop_all(script, env)
                cpu[kind].append(run_measured(command, env))
            for kind, command in (("plain", plain), ("made", in_the_job)):
                stop_all(script, env)
                subprocess.run(command, env=env, cwd=env["HOME"], check=True, capture_output=True)
                waited[kind].append(_until_jupyter_starts(env))
    more = {
        name: statistics.median(found["made"]) - statistics.median(found["plain"])
        for name, found in (("cpu", cpu), ("node", waited))
    }
    return [
        at_most(
            "added to the CPU of `rps start --no-wait`", more["cpu"], LIMIT_OF_THE_COMMAND, "s"
        ),
        at_most("added on the node", more["node"], LIMIT, "s"),
    ]


def _until_jupyter_starts(env: Mapping[str, str]) -> float:
    """Return the seconds from the event `started` of the newest session to `application`."""
    sessions = Path(env["HOME"]) / ".local" / "state" / "rps" / "sessions"
    newest = max(sessions.iterdir(), key=lambda path: path.stat().st_mtime)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        file = newest / "events.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        times = {event["event"]: event["time"] for event in map(json.loads, lines)}
        if "application" in times:
            return float(times["application"] - times["started"])
        time.sleep(0.05)
    raise FailedError(f"Jupyter of {newest.name} does not start")
