"""A scheduler from a distribution of its own, through a whole session.

The distribution is tests/toy_scheduler. It is installed beside rps, in an environment of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT, SYSTEM_PATH
from tests.e2e.visitor import Visitor
from tests.stands.waiting import until


@dataclass(frozen=True)
class Toyland:
    """A host with Toy: its commands, its jobs, and rps with the plugin."""

    installed: Any
    environment: Path
    spool: Path

    def run(self, *command: str, **variables: str) -> str:
        """Run a command as the user, and return what it prints."""
        done = self.ran(*command, **variables)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def ran(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the user."""
        environment = {
            "PATH": f"{self.environment}/bin:{self.installed.directory}/.venv/bin:{SYSTEM_PATH}",
            "TOY_SPOOL": str(self.spool),
            # A scheduler that has answered on a host is expected there for a week.
            "XDG_CACHE_HOME": str(self.environment.parent / "cache"),
        }
        done: subprocess.CompletedProcess[str] = self.installed.user.run(
            list(command), env=environment | variables, capture_output=True, timeout=120
        )
        return done

    def rps(self, *arguments: str, **variables: str) -> str:
        """Run rps with the plugin. The user likes commas in what toystat prints."""
        return self.run(*self.command, *arguments, **{"TOYSTAT_SEPARATOR": ",", **variables})

    @property
    def command(self) -> tuple[str, ...]:
        """rps with the plugin."""
        python = str(self.environment / "bin" / "python")
        return python, "-c", "from rps_core.cli.main import main; main()"

    def jobs(self) -> dict[str, str]:
        """Return the state of each of Toy's jobs."""
        rows = (line.split("\t") for line in self.run("toystat").splitlines())
        return {row[0]: row[3] for row in rows}

    def processes(self, job_id: str) -> list[int]:
        """Return the processes of a job."""
        found = []
        for pid in self.installed.user.processes():
            try:
                variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if f"TOY_JOBID={job_id}".encode() in variables:
                found.append(pid)
        return found


@pytest.fixture(scope="module")
def toyland(installed: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toyland]:
    """Toy, installed by pip from a wheel; what is left of it is ended."""
    source = tmp_path_factory.mktemp("toy") / "toy_scheduler"
    shutil.copytree(PROJECT / "tests" / "toy_scheduler", source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps"]
    subprocess.run(
        [*pip, "--no-build-isolation", "--wheel-dir", str(source.parent), str(source)], check=True
    )
    (wheel,) = source.parent.glob("*.whl")
    home = installed.user.make(installed.user.home / "toy")
    shutil.copy(wheel, home)
    environment, spool = home / "environment", installed.user.make(home / "spool")
    python = installed.directory / ".venv" / "bin" / "python"
    for command in (
        [python, "-m", "venv", "--without-pip", environment],
        [python, "-m", "pip", "--python", environment / "bin" / "python", "install", "--quiet", "--no-index",
         "--no-deps", home / wheel.name],
    ):  # fmt: skip
        installed.user.run([str(part) for part in command], check=True)
    (packages,) = (installed.directory / ".venv/lib").glob("python*/site-packages")
    (own,) = environment.glob("lib/python*/site-packages")
    # `site` reads the .pth files there in turn, that of the editable installation among them.
    (own / "rps.pth").write_text(f"import site; site.addsitedir({str(packages)!r})\n")
    toyland = Toyland(installed, environment, spool)
    yield toyland
    toyland.rps("stop", "--all")
    for job_id, state in toyland.jobs().items():
        if state in ("queued", "running"):
            toyland.run("toydel", job_id)
    shutil.rmtree(home)


def test_a_session_under_a_scheduler_that_rps_does_not_bring(
    toyland: Toyland, visit: Callable[[str], Visitor]
) -> None:
    """Started, shown, asked for its time by the agent, stopped."""
    # Toy grants ten minutes at least: the agent learns that from `toyleft` before it would end the session.
    found = json.loads(toyland.rps("start", "--wait", "--json", "-t", "00:00:10"))
    assert (found["cluster"], found["scheduler"], found["state"]) == ("toyland", "toy", "ready")
    name, job_id = found["name"], found["job_id"]
    assert toyland.jobs()[job_id] == "running"
    visitor = visit(found["url"])
    assert visitor.run_cell("import os\nprint(os.environ['TOY_JOBID'])") == f"{job_id}\n"
    assert f"this is job {job_id} of Toy" in toyland.rps("logs", name)

    calls = toyland.spool / "commands.log"
    until(lambda: f"toyleft {job_id}" in calls.read_text(), "the agent's query")
    (listed,) = json.loads(toyland.rps("list", "--json"))
    assert (listed["name"], listed["state"], listed["node"]) == (name, "ready", os.uname().nodename)
    assert 60 < listed["time_left"] <= 600
    until(lambda: visitor.get("/lab")[0] == 200, "Jupyter")

    toyland.rps("stop", name)
    assert toyland.jobs()[job_id] == "deleted"
    assert toyland.processes(job_id) == []
    assert visitor.get("/lab")[0] == 410
    assert json.loads(toyland.rps("why", name, "--json"))["cause"] == "stopped"


def test_its_log_messages_explain_an_end(toyland: Toyland) -> None:
    toyland.rps("start", "--quiet")
    name, job_id = (json.loads(toyland.rps("list", "--json"))[0][key] for key in ("name", "job_id"))
    toyland.run("toypreempt", job_id)
    answer = json.loads(toyland.rps("why", name, "--json"))
    assert (answer["state"], answer["cause"]) == ("ended", "preempted")
    lines = {(one["source"], one["line"]) for one in answer["evidence"]}
    assert ("job.log", f"toy: job {job_id} makes way for a better job") in lines
    assert toyland.processes(job_id) == []


def test_it_is_checked_as_the_schedulers_of_rps_are(toyland: Toyland) -> None:
    """Test that the plugin has no mistake, and its name selects its scripts alone."""
    cluster = json.loads(toyland.rps("cluster", "--json"))
    assert cluster["broken"] == []
    assert "its scheduler (toy) gives the cluster the name `toyland`" in cluster["reasons"]
    script = toyland.rps("start", "--dry-run", "-b", "toy/notebook.sh")
    assert "Jupyter Notebook under Toy" in script
    assert f"#TOY seconds {3600}" in script


def test_the_policy_of_its_site_changes_and_refuses_requests(toyland: Toyland) -> None:
    changed = toyland.ran(*toyland.command, "start", "--dry-run", "-t", "5", "-p", "slow")
    assert "#TOY seconds 3600" in changed.stdout
    line = "Changed by toyland: job.walltime is 01:00:00 (was 00:05:00): Slow toys take an hour."
    assert line in changed.stderr.splitlines()
    refused = toyland.ran(*toyland.command, "start", "-p", "shelf")
    assert (refused.returncode, refused.stdout) == (11, "")
    words = "The toys on the shelf are not to be played with.\n  They are old.\nAsk grandfather.\n"
    assert refused.stderr.endswith(words)


def test_without_its_site_it_is_detected_by_its_command(toyland: Toyland) -> None:
    shown = json.loads(toyland.rps("cluster", "--json", RPS_BLOCK="toyland"))
    assert (shown["cluster"]["name"], shown["cluster"]["scheduler"]) == ("generic-toy", "toy")
    assert shown["broken"] == []
