"""A login node of the tests' cluster, with a real Slurm.

Its hosts are namespaces (tests/cluster/lab.py).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import FailedError, LeftOutError
from tests.cluster.hosts import PATH, Host
from tests.cluster.lab import ALICE, Cluster, missing

PROJECT = Path(__file__).resolve().parents[1]
NODE = "comet-ln2"
PARTITION = "compute"  # Comet's default
_TIME = 300.0  # seconds that a command may take
_COUNTED = ("sacct", "sacctmgr", "sbatch", "scancel", "scontrol", "sinfo", "squeue")
_NOTE_AND_RUN = """#!/bin/sh
printf '%s %s\\n' "$(date +%s.%N)" {name} >>{calls}
exec /usr/bin/{name} "$@"
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a command and its children in seconds; `cpu` is user and system."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Call:
    """Of one of Slurm's programs; `time` in Unix seconds."""

    time: float
    program: str


@dataclass(frozen=True, slots=True)
class Login:
    """A logged-in user with an installed `git clone` of rps in `clone`.

    `home` is the user's home directory as this process sees it.
    """

    host: Host
    home: Path
    clone: Path

    @property
    def rps(self) -> str:
        """The command, as a user of a clone types it."""
        return str(self.clone / "rps")

    @property
    def python(self) -> str:
        """The interpreter that rps runs on."""
        return str(self.clone / ".venv" / "bin" / "python")

    def run(self, *argv: str, counted: bool = False, code: int = 0) -> str:
        """Run a command; with `counted`, `calls` lists the programs of Slurm that it ran."""
        path = f"{self.clone}/.venv/bin:{PATH}"  # Jupyter is on it
        if counted:
            path = f"{self._count()}:{path}"
        env = {"PATH": path}
        done = self.host.run(argv, ALICE, env=env, capture_output=True, timeout=_TIME)
        if done.returncode != code:
            raise FailedError(f"{' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def cost(self, *argv: str) -> Cost:
        """Run a command; measured on the host, so that entering it does not count."""
        measure = str(self.clone / "benchmarks" / "cost.py")
        return Cost(**json.loads(self.run(self.python, "-I", measure, *argv)))

    def calls(self) -> list[Call]:
        """Return the programs of Slurm that the last `counted` command ran."""
        lines = (self.home / "counted" / "calls").read_text().splitlines()
        return [Call(float(time), program) for time, program in map(str.split, lines)]

    def _count(self) -> str:
        """Slurm's programs, each noting that it was called; the directory for the PATH."""
        directory, seen_as = self.home / "counted", f"{ALICE.home}/counted"
        directory.mkdir(exist_ok=True)
        for name in _COUNTED:
            file = directory / name
            file.write_text(_NOTE_AND_RUN.format(name=name, calls=f"{seen_as}/calls"))
            file.chmod(0o755)
        (directory / "calls").write_text("")
        os.chown(directory / "calls", ALICE.uid, ALICE.uid)
        return seen_as


@contextmanager
def logged_in(scratch: Path) -> Iterator[tuple[Login, Cluster]]:
    """Run the cluster and its services for the length of the block."""
    reason = missing()
    if reason is not None:
        raise LeftOutError(reason)
    clone = _install(scratch / "rps")
    with Cluster(shared=[clone]) as cluster:
        cluster.start_services(clone / "rps")
        cluster.admin("scontrol", "update", f"PartitionName={PARTITION}", "State=DOWN")
        yield Login(cluster.hosts[NODE], cluster.home / ALICE.name, clone), cluster


def _install(clone: Path) -> Path:
    """Copy the working tree, uncommitted changes included, and install it by `./rps`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in listed.stdout.split("\0"):
        if (PROJECT / name).is_file():  # also listed once it is deleted
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, clone / name)
    env = {key: value for key, value in os.environ.items() if not key.startswith("RPS_")}
    # The system's Python: alice cannot read one in another user's home.
    _run_as_group([str(clone / "rps"), "--version"], env | {"PATH": PATH})
    return clone


def _run_as_group(command: list[str], env: dict[str, str]) -> None:
    """So that, where we are ended, nothing of it (pip, say) goes on."""
    process = subprocess.Popen(command, env=env, stdout=sys.stderr, start_new_session=True)
    try:
        code = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if code != 0:
        raise FailedError(f"{command!r}: {code}")
