"""`rps start --here`: a session in an existing allocation of salloc or srun --pty."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.conftest import Login
from tests.cluster.lab import Cluster
from tests.cluster.visitor import OutsideVisitor
from tests.stands.waiting import until

# A script prints this: what is typed before srun has the terminal is lost.
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
        self.job_id = self.read(r"held:(\d+):")

    def says(self, line: str, pattern: str) -> str:
        """Type a line, and read until the pattern comes; return its group."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.read(pattern)

    def read(self, pattern: str) -> str:
        """Read until the pattern comes; kill a shell that is silent for too long."""
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
        """Run `rps start --here`, and wait until the session is ready."""
        rps = self.login.clone / "rps"
        found: dict[str, Any] = json.loads(
            self.says(f"{rps} start --here --wait --json", r"^(\{.*\})\s*$")
        )
        assert found["state"] == "ready", found
        return found

    def leave(self) -> None:
        """Release the allocation."""
        assert self.process.stdin is not None
        self.process.stdin.write("exit\n")
        self.process.stdin.close()
        self.process.wait(60)

    def end(self) -> None:
        """End it, whatever its state."""
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
    found: dict[str, Any] = {}

    def over() -> bool:
        found.update(login.status(name))
        return found["state"] in ("ended", "failed")

    until(over, f"the end of {name}")
    return found


def test_a_session_in_an_allocation_of_salloc(
    comet: Login, holding: Holding, visit: Callable[[str], OutsideVisitor]
) -> None:
    """Start two sessions: stopping one keeps the allocation; the other ends with it."""
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
    until(lambda: not jobs(comet), "the end of the allocation")


def test_a_session_in_a_shell_on_the_node(
    comet: Login, holding: Holding, visit: Callable[[str], OutsideVisitor]
) -> None:
    """Test srun --pty, whose shell is on a compute node."""
    srun = f"srun --time=7 --pty bash --norc -c '{BEGUN}'"
    shell = holding("script", "--quiet", "--command", srun, "/dev/null")
    found = shell.started()
    assert found["job_id"] == shell.job_id
    # Slurm would kill it at the end of this shell's step.
    assert shell.says("pgrep --exact srun; echo left:$?:", r"left:(\d+):") == "1"
    assert visit(found["url"]).run_cell("print(6 * 7)") == "42\n"
    rps = comet.clone / "rps"
    assert shell.says(f"{rps} status | sed -n s/^state:/is:/p", r"^is: +(\w+)") == "ready"
    refused = shell.says(f"{rps} start; echo with:$?:", r"with:(\d+):")
    assert refused == "3"  # without --here rps refuses to start on a compute node
    shell.leave()
    ended = until_over(comet, found["name"])
    assert (ended["state"], ended["cause"]) == ("ended", "allocation-over"), ended
    until(lambda: not jobs(comet), "the end of the allocation")
    events = comet.sessions / found["name"] / "events.jsonl"
    last = json.loads(events.read_text().splitlines()[-1])
    # it got the signal, and had the time
    assert (last["event"], last["cause"]) == ("ended", "signal")


def test_a_session_in_a_heterogeneous_allocation(
    comet: Login, holding: Holding, visit: Callable[[str], OutsideVisitor]
) -> None:
    """In its first component, with salloc's shell on the login node."""
    part = ("--ntasks=1", "--mem=200M")
    shell = holding("salloc", "--time=7", *part, ":", *part, "bash", "-c", BEGUN)
    found = shell.started()
    assert found["job_id"] == shell.job_id
    assert visit(found["url"]).run_cell("import os\nprint(os.environ['SLURM_JOB_ID'])") == (
        f"{shell.job_id}\n"
    )
    comet.rps("stop", found["name"])
    assert sorted(jobs(comet)) == [f"{shell.job_id}+{part} RUNNING" for part in (0, 1)]


def test_a_session_in_a_task_of_an_array(
    comet: Login, holding: Holding, visit: Callable[[str], OutsideVisitor]
) -> None:
    """It is known by the id of the task, which is not that of the array."""
    array = comet.run(
        "sbatch", "--parsable", "--time=7", "--mem=200M", "--array=1-2%1", "--wrap", "sleep 300"
    ).stdout.strip()
    runs = ["squeue", "--noheader", "--states=running", "--format=%A", f"--jobs={array}_1"]
    until(lambda: comet.run(*runs).stdout.strip() != "", "the array's first task")
    task = comet.run(*runs).stdout.strip()
    assert task != array
    srun = f"srun --jobid={task} --overlap --pty bash --norc -c '{BEGUN}'"
    shell = holding("script", "--quiet", "--command", srun, "/dev/null")
    found = shell.started()
    assert found["job_id"] == shell.job_id == task
    comet.rps("stop", found["name"])
    assert f"{array}_1 RUNNING" in jobs(comet)
    comet.run("scancel", array)


def test_a_node_that_no_site_knows_is_of_its_jobs_cluster(comet: Login) -> None:
    """A site file has the login nodes alone; the job's environment has the one that submitted the job."""
    described = "scheduler: slurm\ndetect: {login_hosts: [comet-ln<N>]}\n"
    write = 'mkdir -p ~/lab/rps/sites && printf "%s" "$0" >~/lab/rps/sites/lab.yaml'
    comet.run("sh", "-c", write, described)
    show = 'RPS_BLOCK=comet XDG_CONFIG_HOME=~/lab "$0" cluster --json'
    script = ("sh", "-c", show, str(comet.clone / "rps"))
    found = json.loads(comet.run("srun", "--time=5", "--mem=200M", *script).stdout)
    assert found["cluster"]["name"] == "lab"
    assert "submitted the job of this shell" in found["reasons"][-1]
    comet.run("sh", "-c", "rm -r ~/lab")


def test_without_an_allocation_of_the_user(comet: Login, bob: Login, cluster: Cluster) -> None:
    outside = comet.rps("start", "--here", check=False)
    assert outside.returncode == 2
    assert "not in an allocation of comet" in outside.stderr
    assert "salloc" in outside.stderr
    asked = comet.rps("start", "--here", "-p", "debug", env={"SLURM_JOB_ID": "1"}, check=False)
    assert "existing allocation: --partition has no effect" in asked.stderr
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
