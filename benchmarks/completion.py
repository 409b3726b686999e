"""A Tab: CPU (user and system) of the command that a shell runs for it, with 100 sessions and a fresh cache;
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
    """Measure the completion of a session's name, a partition and an option."""
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
        at_most(f"`rps {line}` and Tab", median_cpu([_SCRIPT], TIMES, tab(line, env)), LIMIT, "s")
        for line in LINES
    ]


def tab(line: str, env: dict[str, str]) -> dict[str, str]:
    """Return the environment that click's script for bash sets."""
    words = f"rps {line}".split()
    words_of_the_line = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    return env | words_of_the_line | {"_RPS_COMPLETE": "bash_complete"}
