"""The examples of start-jupyter's documentation, literally and with `rps start`."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.conftest import Login
from tests.cluster.lab import Cluster
from tests.cluster.visitor import OutsideVisitor


@dataclass(frozen=True)
class Example:
    """A command line's options, and what the scheduler must receive of them.

    `app` is the application that the named batch script starts; None: the command's default.
    """

    words: str
    partition: str
    account: str = "abc123"
    minutes: int = 30
    app: str | None = None


ON = {
    "comet-ln2": [
        Example("", "compute"),
        Example("-b slurm/jupyterlab.sh", "compute", app="lab"),
        Example("-d ~ -p debug -t 30", "debug"),
        Example("-d ~ -A ddp363 -p compute -t 60", "compute", "ddp363", 60),
    ],
    "tscc-login1": [
        Example("", "interactive"),
        Example("-b torque/jupyterlab.sh", "interactive", app="lab"),
    ],
}
POSITIONAL = [
    Example("-p {partition} 20", "{partition}", minutes=20),
    Example("20 -p {partition}", "{partition}", minutes=20),
]


@pytest.mark.parametrize("command", ["start-jupyter", "rps start"])
@pytest.mark.parametrize("host", ON)
def test_the_examples_as_they_are_written(
    host: str, command: str, login: Callable[[str], Login], cluster: Cluster
) -> None:
    alice = login(host)
    examples = list(ON[host])
    if command == "start-jupyter":
        partition = {"comet-ln2": "debug", "tscc-login1": "interactive"}[host]
        examples += [
            Example(one.words.format(partition=partition), partition, minutes=one.minutes)
            for one in POSITIONAL
        ]
    for example in examples:
        url = typed(alice, f"{command} {example.words}").stdout.strip()
        found = alice.status(re.split("[/.]", url)[2])
        assert found["app"] == (example.app or ("lab" if command == "rps start" else "notebook"))
        assert found["directory"] == alice.account.home
        shown = job(cluster, found)
        asked = {"Partition": example.partition, "Account": example.account,
                 "TimeLimit": f"{example.minutes // 60:02d}:{example.minutes % 60:02d}:00"}  # fmt: skip
        assert asked.items() <= shown.items(), (example, shown)
        # Its notebook is of no use here, and takes two seconds of processor time to start.
        cluster.admin("scancel", shown["JobId"])
    alice.rps("stop", "--all")


@pytest.mark.parametrize("host", ON)
def test_a_notebook_of_start_jupyter_answers(
    host: str, login: Callable[[str], Login], visit: Callable[[str], OutsideVisitor]
) -> None:
    alice = login(host)
    done = typed(alice, "start-jupyter -i --wait")
    for pattern in ("state:", "job:", "cluster:", "directory: +/home/alice\n", "script:", "log:"):
        assert re.search(pattern, done.stderr), done.stderr
    visitor = visit(done.stdout.strip())
    assert visitor.get("/tree")[0] == 200
    assert visitor.run_cell("print(6 * 7)") == "42\n"


def test_start_jupyter_refuses_what_the_cluster_has_not(login: Callable[[str], Login]) -> None:
    """Test the seed's batch scripts of the other scheduler."""
    for host, words in (
        ("comet-ln2", "-b torque/jupyterlab.sh"),
        ("tscc-login1", "-b slurm/jupyterlab.sh"),
    ):
        alice = login(host)
        done = alice.run(
            "bash", "-c", f"{alice.clone}/.venv/bin/start-jupyter {words}", check=False
        )
        assert done.returncode == 2
        assert "this cluster runs" in done.stderr


def typed(user: Login, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line in a shell with our commands on its PATH; the URL is on stdout."""
    path = f"PATH={user.clone}/.venv/bin:$PATH"
    return user.run("bash", "-c", f"{path}; {line}", timeout=120)


def job(cluster: Cluster, session: dict[str, Any]) -> dict[str, str]:
    """Return the job as Slurm reports it."""
    number = session["job_id"].partition(".")[0]
    shown = cluster.admin("scontrol", "--oneliner", "show", "job", number)
    return dict(re.findall(r"(\w+)=(\S+)", shown))
