"""`rps start --here`: a session in an allocation that its user holds, by salloc and by srun --pty."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.conftest import Login
from tests.cluster.daemons import wait_for
from tests.cluster.lab import Cluster
from tests.cluster.visitor import OutsideVisitor

# Said by itself: what is typed before srun has the terminal is lost.
BEGUN = "echo held:$SLURM_JOB_ID:; exec bash --norc"
Holding = Callable[..., "Shell"]


class Shell:
    """A shell in an allocation, on a pipe or, by script(1), on a terminal."""

    def __init__(self, login: Login, *command: str) -> None:
        self.login = login
        self.process = login.host.popen(
            command, login.account, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.seen = ""
        self.job_id = self.told(r"held:(\d+):")

    def says(self, line: str, pattern: str) -> str:
        """Type a line, and read on until the pattern comes; answers its group."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.told(pattern)

    def told(self, pattern: str) -> str:
        """Read on until the pattern comes; a shell that is silent for too long is ended."""
        assert self.process.stdout is not None
        seen = ""
        watch = threading.Timer(120, self.process.kill)
        watch.start()
        try:
            for text in iter(self.process.stdout.readline, ""):
                seen += text
                found = re.search(pattern, text)
                if found:
                    return found[1]
        finally:
            watch.cancel()
        raise AssertionError(f"{pattern}: it has ended\n{seen}")

    def started(self) -> dict[str, Any]:
        """`rps start --here`, ready."""
        rps = self.login.clone / "rps"
        found: dict[str, Any] = json.loads(
            self.says(f"{rps} start --here --wait --json", r"^(\{.*\})\s*$")
        )
        assert found["state"] == "ready", found
        return found

    def leave(self) -> None:
        """Give the allocation back."""
        assert self.process.stdin is not None
        self.process.stdin.write("exit\n")
        self.process.stdin.close()
        self.process.wait(60)

    def end(self) -> None:
        """Whatever it is at."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


@pytest.fixture
def holding(comet: Login) -> Iterator[Holding]:
    """Get an allocation, and a shell in it."""
    shells: list[Shell] = []

    def hold(*command: str) -> Shell:
        shells.append(Shell(comet, *command))
        return shells[-1]

    yield hold
    for shell in shells:
        comet.run("scancel", shell.job_id, check=False)
        shell.end()


def jobs(login: Login) -> list[str]:
    return login.run(
        "squeue", "--noheader", "--format=%i %T", f"--user={login.account.name}"
    ).stdout.splitlines()


def until_over(login: Login, name: str) -> dict[str, Any]:
    deadline = time.monotonic() + 90
    while True:
        found = login.status(name)
        if found["state"] in ("ended", "failed"):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(1)


def test_a_session_in_an_allocation_of_salloc(
    comet: Login, holding: Holding, visit: Callable[[str], OutsideVisitor]
) -> None:
    """Twice: the first is stopped, and the allocation goes on; the second ends with the allocation."""
    shell = holding("salloc", "--time=7", "--ntasks=2", "bash", "-c", BEGUN)
    first = shell.started()
    assert (first["job_id"], first["node"][:8]) == (shell.job_id, "comet-14")
    assert 0 < first["time_left"] <= 7 * 60
    cores = visit(first["url"]).run_cell("import os\nprint(len(os.sched_getaffinity(0)))")
    assert int(cores) >= 2
    comet.rps("stop", first["name"])
    assert jobs(comet) == [f"{shell.job_id} RUNNING"]
    assert visit(first["url"]).get("/lab")[0] == 410
    second = shell.started()
    assert (second["job_id"], second["name"] != first["name"]) == (shell.job_id, True)
    shell.leave()
    ended = until_over(comet, second["name"])
    assert (ended["state"], ended["cause"]) == ("ended", "allocation-over"), ended
    assert visit(second["url"]).get("/lab")[0] == 410
    wait_for("the end of the allocation", lambda: not jobs(comet))


def test_a_session_in_a_shell_on_the_node(
    comet: Login, holding: Holding, visit: Callable[[str], OutsideVisitor]
) -> None:
    """srun --pty: the shell is on the compute node, where no session is started otherwise."""
    srun = f"srun --time=7 --pty bash --norc -c '{BEGUN}'"
    shell = holding("script", "--quiet", "--command", srun, "/dev/null")
    found = shell.started()
    assert found["job_id"] == shell.job_id
    # Slurm would kill it at this shell's end, and it takes its step along.
    assert shell.says("pgrep --exact srun; echo left:$?:", r"left:(\d+):") == "1"
    assert visit(found["url"]).run_cell("print(6 * 7)") == "42\n"
    rps = comet.clone / "rps"
    assert shell.says(f"{rps} status | sed -n s/^state:/is:/p", r"^is: +(\w+)") == "ready"
    refused = shell.says(f"{rps} start; echo with:$?:", r"with:(\d+):")
    assert refused == "3"  # without --here a compute node will not do
    shell.leave()
    ended = until_over(comet, found["name"])
    assert (ended["state"], ended["cause"]) == ("ended", "allocation-over"), ended
    wait_for("the end of the allocation", lambda: not jobs(comet))
    events = comet.sessions / found["name"] / "events.jsonl"
    last = json.loads(events.read_text().splitlines()[-1])
    assert (last["event"], last["cause"]) == ("ended", "signal")  # it was told, and had the time


def test_where_there_is_no_allocation_of_ones_own(
    comet: Login, bob: Login, cluster: Cluster
) -> None:
    outside = comet.rps("start", "--here", check=False)
    assert outside.returncode == 2
    assert "in no allocation of comet" in outside.stderr
    assert "salloc" in outside.stderr
    asked = comet.rps("start", "--here", "-p", "debug", env={"SLURM_JOB_ID": "1"}, check=False)
    assert "`job.partition` cannot be chosen" in asked.stderr
    theirs = bob.run("sbatch", "--parsable", "--time=5", "--wrap", "sleep 300").stdout.strip()
    try:
        stolen = comet.rps("start", "--here", env={"SLURM_JOB_ID": theirs}, check=False)
        assert stolen.returncode in (2, 5)
        assert f"allocation {theirs}" in stolen.stderr
    finally:
        bob.run("scancel", theirs)
    own = comet.started("-t", "5")
    within = comet.rps("start", "--here", env={"SLURM_JOB_ID": own["job_id"]}, check=False)
    assert within.returncode == 2
    assert f"the job of your session {own['name']}" in within.stderr
    assert comet.status(own["name"])["state"] == "ready"
