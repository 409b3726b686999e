"""Comet, Stratus and TSCC end to end: from `rps start` without a flag to a cell that ran on a node."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.cluster.conftest import Login
from tests.cluster.daemons import wait_for
from tests.cluster.lab import BOB, Cluster
from tests.cluster.network import ADDRESSES, NODES, SITES
from tests.cluster.transcript import Transcript
from tests.cluster.visitor import OutsideVisitor
from tests.conftest import PROJECT

WRITE_TRANSCRIPTS = os.environ.get("RPS_WRITE_TRANSCRIPTS") == "1"
CELL = "import getpass, socket\nprint(getpass.getuser(), 'on', socket.gethostname())"


@dataclass(frozen=True)
class Site:
    """A cluster as its users know it."""

    name: str
    title: str
    login: str
    scheduler: str
    partition: str
    show: tuple[str, ...]  # the command that shows a job
    really: str


SLURM = "The scheduler is a real Slurm, of Debian's packages."
WRAPPED = "qsub, qstat and qdel are Debian's slurm-wlm-torque, in front of a real Slurm."
COMET = Site("comet", "Comet", "comet-ln2", "slurm", "compute", ("squeue", "--job"), SLURM)
STRATUS = Site(
    "stratus", "Stratus", "tscc-stratus", "slurm", "interactive", ("squeue", "--job"), SLURM
)
TSCC = Site("tscc", "TSCC", "tscc-login1", "torque", "interactive", ("qstat",), WRAPPED)


@pytest.mark.parametrize("site", [COMET, STRATUS, TSCC], ids=lambda site: site.name)
def test_from_a_login_node_to_a_cell_on_a_compute_node(
    site: Site,
    cluster: Cluster,
    login: Callable[[str], Login],
    visit: Callable[[str], OutsideVisitor],
    request: pytest.FixtureRequest,
) -> None:
    alice = login(site.login)
    page = Transcript(site.title, request.node.nodeid, site.really)

    def typed(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = (
            alice.rps(*command[1:], check=check)
            if command[0] == "rps"
            else alice.run(*command, check=check)
        )
        page.command(f"alice@{site.login}:~$", done, " ".join(command))
        return done

    page.say("Alice is logged in, and asks for nothing in particular.")
    typed("rps", "cluster")
    url = typed("rps", "start", "--wait").stdout.strip()
    (found,) = json.loads(alice.rps("list", "--json").stdout)
    assert (found["cluster"], found["scheduler"], found["state"]) == (
        site.name, site.scheduler, "ready",
    )  # fmt: skip
    assert found["url"] == url
    assert url.startswith(f"https://{found['name']}.{SITES[site.name]}/?token=")
    assert found["node"] in NODES
    number = found["job_id"].partition(".")[0]
    assert re.search(rf"^ *{number}\b", typed(*site.show, number).stdout, re.MULTILINE)
    shown = cluster.admin("scontrol", "show", "job", number)
    assert f"Partition={site.partition} " in shown
    assert "Account=abc123" in shown

    page.say(
        "The URL in a browser at home, where nothing of the cluster but the proxy can be reached:"
    )
    visitor = visit(url)
    printed = visitor.run_cell(CELL)
    assert printed == f"alice on {found['node']}\n"
    page.cell(CELL, printed)
    assert "JupyterLab" in visitor.get("/lab")[1]
    assert visitor.get("/api/status", token=False)[0] == 403
    address, port = listens_at(alice, found["name"])
    assert address == ADDRESSES[found["node"]][0]
    assert found["node_name"] == f"{found['node']}.local"
    assert alice.run("getent", "hosts", found["node_name"]).stdout.split()[0] == address
    assert cluster.reaches("proxy", address, port)
    assert not cluster.reaches("outside", address, port)

    page.say("Back on the login node:")
    typed("rps", "list")
    typed("rps", "stop")
    assert visitor.get("/lab")[0] == 410
    wait_for("the job's end", lambda: not lives(cluster, number), 60)
    typed("rps", "status", found["name"])
    assert not cluster.reaches("proxy", address, port)
    if WRITE_TRANSCRIPTS:
        page.write(PROJECT / "docs" / "transcripts" / f"{site.name}.md")


def listens_at(user: Login, name: str) -> tuple[str, int]:
    """Where the notebook listens, as its agent wrote down."""
    events = (user.sessions / name / "events.jsonl").read_text().splitlines()
    (found,) = [one for one in map(json.loads, events) if one["event"] == "listening"]
    return found["address"], found["port"]


def lives(cluster: Cluster, job: str) -> bool:
    """Whether the job is in the queue, ending included."""
    return job in cluster.admin("squeue", "--noheader", "--format=%A").split()


def test_a_node_that_cannot_see_the_launchers_python(
    cluster: Cluster, comet: Login, visit: Callable[[str], OutsideVisitor]
) -> None:
    """The launcher is installed on the login node's own disk; JupyterLab where all see it."""
    own = cluster.hosts["comet-ln2"].directory / "launcher"
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(own)], check=True)
    (packages,) = (comet.clone / ".venv/lib").glob("python3*/site-packages")
    (shared,) = own.glob("lib/python3*/site-packages")
    # `site` reads the .pth files there in turn, that of the editable installation among them.
    (shared / "shared.pth").write_text(f"import site; site.addsitedir({str(packages)!r})\n")
    python = "/srv/launcher/bin/python"
    start = "from rps_core.cli import main; main()"
    jupyter = f"notebook.jupyter={comet.clone}/.venv/bin/jupyter"
    done = comet.run(
        python, "-c", start, "start", "--wait", "--json", "--set", jupyter,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    interpreters = (comet.sessions / found["name"] / "interpreters").read_text().splitlines()
    assert interpreters[0] == python
    for node in NODES:
        assert cluster.hosts[node].run(["test", "-e", python]).returncode != 0
    assert visit(found["url"]).run_cell(CELL) == f"alice on {found['node']}\n"


def test_a_job_that_waits_says_why_and_until_when(comet: Login, cluster: Cluster) -> None:
    """Bob has every core of both nodes for five minutes."""
    submit = ["sbatch", "--parsable", "--nodes=2", "--exclusive", "--time=5", "--wrap=sleep 600"]
    bob = cluster.hosts["comet-ln2"].run(submit, BOB, capture_output=True, check=True)
    seen: dict[str, Any] = {}

    def estimated() -> bool:
        seen.update(comet.status(name))
        return seen["estimated_start"] is not None

    try:
        wait_for("bob's job", lambda: cluster.slurm.idle_nodes() == set(), 60)
        name = json.loads(comet.rps("start", "--no-wait", "--json").stdout)["name"]
        wait_for("an estimate", estimated, 90)
        page, table = comet.rps("status", name).stdout, comet.rps("list").stdout
        comet.rps("stop", name)
    finally:
        cluster.admin("scancel", bob.stdout.strip())
    assert (seen["state"], seen["raw_reason"]) == ("pending", "Resources")
    asked, start = (
        datetime.fromisoformat(seen[key]) for key in ("estimated_at", "estimated_start")
    )
    assert timedelta() < start - asked <= timedelta(minutes=6)
    told = r"it is next, as soon as nodes are free \(Resources\); estimated start .*\d\d:\d\d"
    assert re.search(told, page), page
    assert re.search(told, table), table


def test_two_users_know_nothing_of_each_other(
    comet: Login, bob: Login, visit: Callable[[str], OutsideVisitor]
) -> None:
    hers = comet.started()
    his = bob.started()
    for user, found in ((comet, hers), (bob, his)):
        (seen,) = json.loads(user.rps("list", "--json").stdout)
        assert seen["name"] == found["name"]
        whoami = visit(found["url"]).run_cell("import getpass; print(getpass.getuser())")
        assert whoami == f"{user.account.name}\n"
    assert bob.rps("stop", hers["name"], check=False).returncode == 7
    assert visit(hers["url"]).get("/api/status")[0] == 200
    token_of_the_other = visit(hers["url"].partition("?")[0] + "?" + his["url"].partition("?")[2])
    assert token_of_the_other.get("/api/status")[0] == 403


def test_variables_of_slurm_do_not_change_what_is_asked(comet: Login, cluster: Cluster) -> None:
    env = {"SBATCH_PARTITION": "nowhere", "SBATCH_TIMELIMIT": "1", "SLURM_JOB_ID": "1",
           "SBATCH_ACCOUNT": "nobody", "SLURM_CLUSTERS": "elsewhere"}  # fmt: skip
    done = comet.rps("start", "--no-wait", "--json", env=env)
    shown = cluster.admin("scontrol", "show", "job", json.loads(done.stdout)["job_id"])
    assert "Partition=compute " in shown
    assert "TimeLimit=00:30:00" in shown
    assert "Requeue=0" in shown
