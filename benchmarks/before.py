"""Compare the commands of this commit with those of an earlier commit.

`RPS_BENCH_BEFORE` names that commit.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.completion import SESSIONS, tab
from benchmarks.processes import LeftOutError, run_measured
from benchmarks.report import Row, at_most
from benchmarks.start import own_home, stop_all
from rps_core.state.record import Endpoint, Secrets, SessionRecord
from rps_core.state.store import Store

NEEDS: tuple[str, ...] = ("git",)
NOISE = 1.05
TIMES = 15
STARTS = 7
_PROJECT = Path(__file__).resolve().parents[1]
_COMMANDS = {
    "`rps --help`": ("--help",),
    "`rps start --help`": ("start", "--help"),
    f"`rps list`, {SESSIONS} sessions that have ended": ("list", "--all"),
    "`rps start --dry-run`": ("start", "--dry-run"),
}


@dataclass(frozen=True)
class _Installed:
    script: str
    env: Mapping[str, str]


def measure(scratch: Path) -> list[Row]:
    """Every command of both, in turns."""
    commit = os.environ.get("RPS_BENCH_BEFORE")
    if not commit:
        raise LeftOutError("RPS_BENCH_BEFORE names no commit to compare with")
    with ExitStack() as stack:
        both = [
            _installed(scratch / name, revision, stack)
            for name, revision in (("before", commit), ("now", "HEAD"))
        ]
        figures = {
            what: [
                [run_measured([each.script, *words], each.env) for each in both]
                for _ in range(TIMES)
            ]
            for what, words in _COMMANDS.items()
        }
        figures["`rps start -p` and Tab"] = [
            [run_measured([each.script], tab("start -p s", dict(each.env))) for each in both]
            for _ in range(TIMES)
        ]
        for each in both:
            _started(each)  # brings the service up, and is not counted
        figures["`rps start --no-wait`"] = [
            [_started(each) for each in both] for _ in range(STARTS)
        ]
    rows = []
    for what, pairs in figures.items():
        before, now = (statistics.median(each) for each in zip(*pairs, strict=True))
        rows.append(at_most(what, now, before * NOISE, "s", of=f"{commit} and {NOISE - 1:.0%}"))
    return rows


def _installed(folder: Path, revision: str, stack: ExitStack) -> _Installed:
    """Clone a commit, install it as a user does, and make a home with ended sessions."""
    clone = folder / "rps"
    subprocess.run(["git", "clone", "--quiet", _PROJECT, clone], check=True)
    subprocess.run(["git", "checkout", "--quiet", revision], cwd=clone, check=True)
    venv = folder / "venv"
    wanted = {"RPS_VENV": str(venv), "RPS_EXTRAS": "local", "RPS_LOCK": "locks/local.txt"}
    subprocess.run(["./rps", "--version"], cwd=clone, check=True, env=os.environ | wanted)
    script = str(venv / "bin/rps")
    env = stack.enter_context(own_home(folder, script))
    store = Store(Path(env["HOME"]) / ".local/state/rps/sessions")
    store.probe()
    for number in range(SESSIONS):
        name = f"session-number-n{number}"
        record = SessionRecord(
            name=name, tag=f"rps:{name}:0", cluster="local", site="local", scheduler="local",
            url=f"https://{name}.rps.localhost/", endpoint=Endpoint(host="manage.rps.localhost", port=1),
            own_service=True, app="lab", directory=env["HOME"], walltime=1800, created=time.time(),
        )  # fmt: skip
        store.create(record, Secrets("0" * 43, "0" * 32))
        store.end(record, now=time.time(), outcome="ended", reason="stopped with rps stop")
    return _Installed(script, env)


def _started(each: _Installed) -> float:
    cpu = run_measured([each.script, "start", "--no-wait", "--quiet"], each.env)
    stop_all(each.script, each.env)
    return cpu
