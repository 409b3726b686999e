"""A Tab: CPU (user and system) of what a shell runs for it, with 100 sessions and a cache that is fresh;
median of 15."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.processes import median_cpu
from benchmarks.report import Row, at_most

NEEDS: tuple[str, ...] = ()
LIMIT = 0.10
TIMES = 15
SESSIONS = 100
LINES = ("stop s", "start -p s", "start --pa")
_SCRIPT = str(Path(sys.executable).with_name("rps"))


def measure(scratch: Path) -> list[Row]:
    """A session's name, a partition, an option."""
    home = scratch / "completion"
    for number in range(SESSIONS):
        directory = home / ".local/state/rps/sessions" / f"session-number-{number}"
        directory.mkdir(parents=True)
        (directory / "claim.json").touch()
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "RPS_CLUSTER": "comet"}
    subprocess.run(
        [_SCRIPT, "completion", "--refresh"], env=env, check=True, stderr=subprocess.DEVNULL
    )
    return [
        at_most(f"`rps {line}` and Tab", median_cpu([_SCRIPT], TIMES, _tab(line, env)), LIMIT, "s")
        for line in LINES
    ]


def _tab(line: str, env: dict[str, str]) -> dict[str, str]:
    """What click's script for bash tells it."""
    words = f"rps {line}".split()
    told = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    return env | told | {"_RPS_COMPLETE": "bash_complete"}
