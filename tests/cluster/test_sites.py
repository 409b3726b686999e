"""Comet, Stratus and TSCC: from a plain `rps start` to a cell that ran on a node."""

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
from tests.cluster.lab import BOB, Cluster
from tests.cluster.network import ADDRESSES, NODES, SITES
from tests.cluster.transcript import Transcript
from tests.cluster.visitor import OutsideVisitor
from tests.conftest import PROJECT
from tests.stands.waiting import until

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
    page = Transcript(site.title, request.node.nodeid, site.really, alice.clone)

    def typed(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = (
            alice.rps(*command[1:], check=check)
            if command[0] == "rps"
            else alice.run(*command, check=check)
        )
        page.command(f"alice@{site.login}:~$", done, " ".join(command))
        return done

    page.say("Alice, on a login node, starts a session with the defaults.")
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

    page.say("The URL in a browser at home, from where only the cluster's proxy can be reached:")
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
    until(lambda: not lives(cluster, number), "the job's end")
    typed("rps", "status", found["name"])
    assert not cluster.reaches("proxy", address, port)
    if WRITE_TRANSCRIPTS:
        page.write(PROJECT / "docs" / "transcripts" / f"{site.name}.md")


def listens_at(user: Login, name: str) -> tuple[str, int]:
    """Return where the notebook listens, from its agent's events."""
    events = (user.sessions / name / "events.jsonl").read_text().splitlines()
    (found,) = [one for one in map(json.loads, events) if one["event"] == "listening"]
    return found["address"], found["port"]


def lives(cluster: Cluster, job: str) -> bool:
    """Return whether the job is in the queue, including while it is ending."""
    return job in cluster.admin("squeue", "--noheader", "--format=%A").split()


def test_a_node_that_cannot_see_the_launchers_python(
    cluster: Cluster, comet: Login, visit: Callable[[str], OutsideVisitor]
) -> None:
    """Test a launcher on the login node's own disk, and JupyterLab on the shared one."""
    own = cluster.hosts["comet-ln2"].directory / "launcher"
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(own)], check=True)
    (packages,) = (comet.clone / ".venv/lib").glob("python3*/site-packages")
    (shared,) = own.glob("lib/python3*/site-packages")
    # `site` reads the .pth files there in turn, including that of the editable installation.
    (shared / "shared.pth").write_text(f"import site; site.addsitedir({str(packages)!r})\n")
    python = "/srv/launcher/bin/python"
    start = "from rps_core.cli.main import main; main()"
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
    """Test a job that waits because bob has every core of both nodes for five minutes."""
    submit = ["sbatch", "--parsable", "--nodes=2", "--exclusive", "--time=5", "--wrap=sleep 600"]
    bob = cluster.hosts["comet-ln2"].run(submit, BOB, capture_output=True, check=True)
    seen: dict[str, Any] = {}

    def estimated() -> bool:
        seen.update(comet.status(name))
        return seen["estimated_start"] is not None

    try:
        until(lambda: cluster.slurm.idle_nodes() == set(), "bob's job")
        name = json.loads(comet.rps("start", "--no-wait", "--json").stdout)["name"]
        until(estimated, "an estimate")
        page, table = comet.rps("status", name).stdout, comet.rps("list").stdout
        comet.rps("stop", name)
    finally:
        cluster.admin("scancel", bob.stdout.strip())
    assert (seen["state"], seen["raw_reason"]) == ("pending", "Resources")
    asked, start = (
        datetime.fromisoformat(seen[key]) for key in ("estimated_at", "estimated_start")
    )
    assert timedelta() < start - asked <= timedelta(minutes=6)
    reason = r"it is next, as soon as nodes are free \(Resources\); estimated start .*\d\d:\d\d"
    assert re.search(reason, page), page
    assert re.search(reason, table), table


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


def test_variables_of_slurm_set_what_rps_shows_and_nothing_else(
    comet: Login, cluster: Cluster
) -> None:
    env = {"SBATCH_PARTITION": "debug", "SBATCH_TIMELIMIT": "1", "SLURM_JOB_ID": "1",
           "SBATCH_REQUEUE": "1", "SBATCH_ARRAY_INX": "0-1", "SLURM_CLUSTERS": "elsewhere"}  # fmt: skip
    done = comet.rps("start", "--no-wait", "-t", "21", env=env)
    assert (
        "Without effect on the job: SBATCH_ARRAY_INX, SBATCH_REQUEUE, SLURM_CLUSTERS."
        in done.stderr
    )
    (found,) = json.loads(comet.rps("list", "--json").stdout)
    shown = cluster.admin("scontrol", "show", "job", found["job_id"])
    assert "Partition=debug " in shown
    assert "TimeLimit=00:21:00" in shown
    assert "Requeue=0" in shown
    assert "ArrayJobId" not in shown
