"""A compute node, whose cluster is known by the environment of the job: recorded ones of real schedulers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from rps_core.cluster import find
from rps_core.errors import SchedulerError, UsageError
from rps_core.hooks.manager import Detection, Plugins
from rps_core.launch import allocation as held
from rps_core.models import Cluster, Host, JobOrigin
from rps_core.testing import MISSING, TIMEOUT, RecordedShell, Reply, every_command
from tests.contract import transcripts

Detect = Callable[..., Detection]


def recorded(scheduler: str) -> dict[str, str]:
    (one,) = transcripts.read(f"{scheduler}/job-environment.txt").values()
    pairs = (line.partition("=") for line in one.answer.stdout.splitlines())
    return {name: value for name, _, value in pairs}


TORQUE = recorded("torque")
PBS = recorded("openpbs")
SLURM = recorded("slurm")
NODE = "tscc-5-1.local"
PBS_COMMANDS = ("qdel", "qstat", "qsub")


@pytest.fixture
def detect(monkeypatch: pytest.MonkeyPatch) -> Detect:
    """Detect the cluster of a host without any command, in a job."""

    def detected(
        environment: Mapping[str, str], *, node: str = NODE, inside: bool = True
    ) -> Detection:
        for name in list(os.environ):
            if name.startswith(("PBS_", "SLURM_")):
                monkeypatch.delenv(name)
        for name, value in environment.items():
            if name.startswith(("PBS_", "SLURM_")):
                monkeypatch.setenv(name, value)
        monkeypatch.setattr("rps_core.hooks.manager.bound", lambda *_: every_command(MISSING))
        plugins = Plugins.load()
        host = Host(hostname=node.partition(".")[0], fqdn=node, commands={})
        found = plugins.detect(host, inside=inside)
        assert plugins.broken == []
        return found

    return detected


@pytest.mark.parametrize(
    ("environment", "origins"),
    [
        (
            TORQUE,
            {
                "torque": JobOrigin(
                    submit_host="vm", cluster_name="tscc-mgr7.local", commands=PBS_COMMANDS
                )
            },
        ),
        (
            PBS,
            {
                "pbs": JobOrigin(
                    submit_host="tscc-mgr7.local",
                    cluster_name="tscc-mgr7.local",
                    commands=PBS_COMMANDS,
                )
            },
        ),
        (
            SLURM,
            {
                "slurm": JobOrigin(
                    submit_host="comet-ln2",
                    cluster_name="comet",
                    commands=("sbatch", "scancel", "squeue"),
                )
            },
        ),
        ({"PATH": "/bin"}, {}),
    ],
)
def test_a_jobs_environment_names_its_cluster(
    environment: Mapping[str, str], origins: Mapping[str, JobOrigin]
) -> None:
    found = {}
    for name in ("local", "pbs", "slurm", "torque"):
        plugins = Plugins.load()
        site = plugins.site(Cluster(name=name, site="", scheduler=name))
        if (origin := site.job_origin(environment)) is not None:
            found[name] = origin
        assert plugins.broken == []
    assert found == origins


@pytest.mark.parametrize(
    ("environment", "cluster"),
    [
        ({**TORQUE, "PBS_O_HOST": "tscc-login2.sdsc.edu"}, "tscc"),
        ({**SLURM, "SLURM_SUBMIT_HOST": "comet-ln2"}, "comet"),
        (TORQUE, "generic-torque"),
        (PBS, "generic-pbs"),
        ({**SLURM, "SLURM_SUBMIT_HOST": "login9"}, "generic"),
        # The host that submitted is of a cluster with another scheduler.
        ({**SLURM, "SLURM_SUBMIT_HOST": "tscc-login2"}, "generic"),
        ({**TORQUE, "PBS_O_HOST": "comet-ln2"}, "generic-torque"),
    ],
)
def test_a_node_in_a_job_is_of_the_jobs_cluster(
    environment: Mapping[str, str], cluster: str, detect: Detect
) -> None:
    """The node has no command of the scheduler."""
    found = detect(environment)
    assert found.cluster.name == cluster
    assert any("as its environment says" in reason for reason in found.reasons)
    assert detect(environment).cluster.name == cluster  # from the cache
    assert detect({}).cluster.name == "local"


def test_a_node_that_a_site_claims_by_its_name_is_that_sites(detect: Detect) -> None:
    environment = {**TORQUE, "PBS_O_HOST": "tscc-login2"}
    assert detect(environment, node="comet-14-01").cluster.name == "comet"


def test_without_here_no_job_is_submitted_from_a_node(detect: Detect) -> None:
    """`rps start` in a job does not take the node for the login node."""
    assert detect({**TORQUE, "PBS_O_HOST": "tscc-login2"}, inside=False).cluster.name == "local"


@pytest.mark.parametrize(
    ("detect_keys", "environment", "is_found"),
    [
        ("login_hosts: [login1]", {"SLURM_SUBMIT_HOST": "login1.lab.example.org"}, True),
        ("login_hosts: [login1]", {"SLURM_SUBMIT_HOST": "login10"}, False),
        ("login_hosts: [login1.lab.example.org]", {"SLURM_SUBMIT_HOST": "login1.lab.example.org"}, True),
        ("domain: lab.example.org", {"SLURM_SUBMIT_HOST": "x.lab.example.org"}, True),
        ("domain: lab.example.org", {"SLURM_SUBMIT_HOST": "x.notlab.example.org"}, False),
        ("cluster_name: lab", {"SLURM_CLUSTER_NAME": "lab"}, True),
        ("cluster_name: lab", {"SLURM_CLUSTER_NAME": "comet"}, False),
        ("cluster_name: lab, commands: [sbatch]", {"SLURM_CLUSTER_NAME": "lab"}, True),
        ("cluster_name: lab, commands: [sbatch]", {"SLURM_CLUSTER_NAME": "comet"}, False),
    ],
)  # fmt: skip
def test_a_site_file_describes_the_host_that_submitted(
    detect_keys: str, environment: Mapping[str, str], is_found: bool,
    detect: Detect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    sites = tmp_path / "rps" / "sites"
    sites.mkdir(parents=True)
    (sites / "lab.yaml").write_text(f"scheduler: slurm\ndetect: {{{detect_keys}}}\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    job = {**SLURM, "SLURM_SUBMIT_HOST": "login9", **environment}
    assert detect(job).cluster.name == ("lab" if is_found else "generic")


@pytest.mark.parametrize(
    "name", ["", "../x", "-x", "a b", "a\x1b[31m", "a\n", "\u0430", "x" * 10**5, "$(id)", "tscc-login2\n"]
)  # fmt: skip
def test_what_is_no_name_is_ignored(name: str, detect: Detect) -> None:
    """The environment is the user's; no plugin is at fault for it."""
    found = detect({**TORQUE, "PBS_O_HOST": name, "PBS_O_SERVER": name})
    assert found.cluster.name == "generic-torque"
    assert all(reason.isprintable() and len(reason) < 200 for reason in found.reasons)


# `rps start --here`, where the node cannot ask the scheduler


@pytest.fixture
def node_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return what pbs_mom has where the job runs; ten minutes old."""
    for name, value in TORQUE.items():
        if name.startswith("PBS_"):
            monkeypatch.setenv(name, value)
    path = tmp_path / "nodes"
    path.write_text("tscc-5-1\n")
    os.utime(path, (1e9, 1e9))
    monkeypatch.setenv("PBS_NODEFILE", str(path))
    monkeypatch.setattr(
        "rps_core.schedulers.pbs.steps.time", SimpleNamespace(time=lambda: 1e9 + 600)
    )
    return path


QSTAT = transcripts.read("torque/qstat.txt")
NOT_REACHED = QSTAT["pbs_server down, trqauthd up: qstat -x ID"].answer
NO_TRQAUTHD = QSTAT["pbs_server up, trqauthd down: qstat -x ID"].answer
UNKNOWN = QSTAT["unknown id -x"].answer
DENIED = replace(
    UNKNOWN, stderr=UNKNOWN.stderr.replace("99999999.tscc-mgr7.local", TORQUE["PBS_JOBID"])
)


PBS_DOWN = transcripts.read("openpbs/qstat.txt")["server down: qstat"].answer


def allocation(shell: RecordedShell, cluster: str = "tscc") -> held.ExistingAllocation:
    return held.allocation(replace(find(cluster), shell=shell), [])


@pytest.mark.parametrize("reply", [MISSING, NOT_REACHED, NO_TRQAUTHD, TIMEOUT])
def test_where_the_scheduler_cannot_be_asked_the_job_runs_by_its_files(
    reply: Reply, node_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = every_command(reply)
    found = allocation(shell)
    assert found == held.ExistingAllocation(
        job_id=TORQUE["PBS_JOBID"], time_left=timedelta(minutes=20)
    )
    monkeypatch.setenv("PBS_WALLTIME", "300")  # the scheduler is late, or gave it more
    assert allocation(shell).time_left > timedelta()
    for odd in ("", "-1", "1e9", "\u0661", "9" * 400):
        monkeypatch.setenv("PBS_WALLTIME", odd)
        assert allocation(shell).time_left > timedelta(days=30)


@pytest.mark.parametrize("reply", [MISSING, PBS_DOWN])
def test_the_same_with_pbs_whose_jobs_do_not_know_their_walltime(
    reply: Reply, node_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**dict.fromkeys(TORQUE, ""), **PBS}.items():
        if name.startswith("PBS_") and name != "PBS_NODEFILE":
            monkeypatch.setenv(name, value)
    found = allocation(every_command(reply), "generic-pbs")
    assert found.job_id == PBS["PBS_JOBID"]
    assert found.time_left > timedelta(days=30)


def test_without_the_jobs_files_the_scheduler_has_to_answer(
    node_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a shell of a login node with a job's variables."""
    shell = every_command(MISSING)
    monkeypatch.delenv("PBS_NODEFILE")
    with pytest.raises(SchedulerError, match="not on the PATH"):
        allocation(shell)
    for odd in ("", "/nonexistent", str(node_file.parent), "x" * 10**5):
        monkeypatch.setenv("PBS_NODEFILE", odd)
        with pytest.raises(SchedulerError, match="not on the PATH"):
            allocation(shell)


def test_an_answer_of_the_scheduler_counts_more_than_the_jobs_files(node_file: Path) -> None:
    """It may have given the id to another job, or have lost it."""
    assert DENIED != UNKNOWN
    with pytest.raises(UsageError, match="no longer knows"):
        allocation(every_command(DENIED))
