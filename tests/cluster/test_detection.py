"""Detection of a cluster that no site claims, on a real Slurm: never `local`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.conftest import Login
from tests.cluster.daemons import Daemon
from tests.cluster.lab import Cluster
from tests.cluster.slurm import MANAGER

# A cluster of its own beside Comet's on the same host, without accounting; its node does not exist.
OTHER = """\
ClusterName=other
SlurmctldHost=comet-mgr
SlurmctldPort=6827
SlurmUser=slurm
AuthType=auth/munge
CredType=cred/munge
MpiDefault=none
SwitchType=switch/none
MailProg=/bin/true
StateSaveLocation=/srv/slurmctld-other
SlurmctldPidFile=/run/slurmctld-other.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
AccountingStorageType=accounting_storage/none
FirstJobId=$FIRST
NodeName=other-01 NodeAddr=127.0.0.1 Port=6899 CPUs=8 RealMemory=8000
PartitionName=compute Default=YES Nodes=other-01 State=UP
"""
UNKNOWN = {"RPS_BLOCK": "comet"}  # no site claims the login node


def test_a_slurm_that_no_site_claims(comet: Login, bob: Login, cluster: Cluster) -> None:
    """Test alice, with a cached answer, and bob, without one."""
    found = json.loads(comet.rps("cluster", "--json", env=UNKNOWN).stdout)
    assert found["cluster"]["name"] == "generic"
    assert "Slurm's controller answers" in found["reasons"][0]
    with cluster.slurm.controller.down():
        remembered = comet.rps("cluster", "--json", env=UNKNOWN)
        assert json.loads(remembered.stdout)["cluster"]["name"] == "generic"
        done = bob.rps("start", "--dry-run", env=UNKNOWN, check=False)
        assert done.returncode == 3
        assert "Slurm's controller is comet-mgr" in done.stderr
        assert "Slurmctld(primary) at comet-mgr is DOWN" in done.stderr
        assert "--cluster local" in done.stderr
        bob.rps("list", env=UNKNOWN)
    with cluster.slurm.controller.frozen():
        done = bob.rps("start", "--dry-run", env=UNKNOWN, check=False)
        assert done.returncode == 3
        assert "scheduler does not answer" in done.stderr


def test_a_job_of_another_cluster_is_left_alone(comet: Login, cluster: Cluster) -> None:
    """Test two clusters of one name and home directory: their job ids overlap."""
    session = json.loads(comet.rps("start", "--no-wait", "--json").stdout)
    assert session["cluster_identity"] == "comet@comet-mgr"
    record = comet.sessions / session["name"] / "session.json"
    of_this = record.read_text()
    assert '"comet@comet-mgr"' in of_this
    record.write_text(of_this.replace("comet@comet-mgr", "comet@other-mgr"))
    listed = comet.rps("list").stdout
    assert "comet (comet@other-mgr)" in listed
    (found,) = [
        one
        for one in json.loads(comet.rps("list", "--json").stdout)
        if one["name"] == session["name"]
    ]
    assert found["cause"] == "elsewhere"
    assert "its job is on comet@other-mgr, and this is comet@comet-mgr" in found["reason"]
    done = comet.rps("stop", "--all", check=False)
    assert done.returncode == 5
    assert f"{session['name']} was not stopped" in done.stderr
    alive = cluster.admin("squeue", "--noheader", f"--jobs={session['job_id']}", "--format=%T")
    assert alive.strip() in ("PENDING", "RUNNING")
    record.write_text(of_this)
    comet.rps("stop", session["name"])


@pytest.fixture
def other_cluster(comet: Login, cluster: Cluster) -> Iterator[Callable[[int], dict[str, str]]]:
    """Start a second Slurm, whose ids begin at a number; return what a shell of its login nodes exports."""
    started: list[Daemon] = []
    manager = cluster.hosts[MANAGER]

    def start(first: int) -> dict[str, str]:
        directory = cluster.etc / "slurm-other"
        directory.mkdir()
        (directory / "slurm.conf").write_text(OTHER.replace("$FIRST", str(first)))
        (manager.directory / "slurmctld-other").mkdir()
        shutil.chown(manager.directory / "slurmctld-other", "slurm")
        configuration = "/etc/slurm-other/slurm.conf"
        question = ("env", f"SLURM_CONF={configuration}", "scontrol", "ping")
        command = ("slurmctld", "-D", "-f", configuration)
        started.append(Daemon(manager, "slurmctld-other", command, question=question))
        started[0].start()
        started[0].await_answer()
        return {"SLURM_CONF": configuration}

    yield start
    for daemon in started:
        daemon.end()
    for path in (cluster.etc / "slurm-other", manager.directory / "slurmctld-other"):
        shutil.rmtree(path)


def test_two_controllers_with_one_home_directory(
    comet: Login, cluster: Cluster, other_cluster: Callable[[int], dict[str, str]]
) -> None:
    """A session of one, and a job of the user's that has the same id on the other."""
    session = json.loads(comet.rps("start", "--no-wait", "--json").stdout)
    record = comet.sessions / session["name"] / "session.json"
    before = record.read_text()
    there = other_cluster(int(session["job_id"]))
    submitted = comet.run("sbatch", "--parsable", "--wrap", "sleep 60", env=there).stdout.strip()
    assert submitted == session["job_id"]

    listed = json.loads(comet.rps("list", "--json", env=there).stdout)
    (found,) = [one for one in listed if one["name"] == session["name"]]
    assert found["cause"] == "elsewhere"
    assert "its job is on comet@comet-mgr, and this is other@comet-mgr" in found["reason"]
    done = comet.rps("stop", "--all", env=there, check=False)
    assert done.returncode == 5
    assert f"{session['name']} was not stopped" in done.stderr
    assert record.read_text() == before
    assert not {"end.json", "stop-asked"} & {path.name for path in record.parent.iterdir()}
    for environment in ({}, there):
        states = ["squeue", "--noheader", f"--jobs={submitted}", "--format=%T"]
        state = comet.run(*states, env=environment).stdout.strip()
        assert state in ("PENDING", "RUNNING"), environment

    comet.rps("stop", session["name"])
    assert comet.status(session["name"])["cause"] == "stopped"
    there_is = comet.run("squeue", "--noheader", "--format=%T", env=there).stdout.split()
    assert there_is == ["PENDING"]
