"""Comet and Stratus: the site contract, detection beside neighbours, rendering.

TSCC, with its other scheduler, has a file of its own.
"""

from __future__ import annotations

import os
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner

from rps_core import cluster
from rps_core.cli.main import rps
from rps_core.errors import UsageError
from rps_core.hooks.manager import GROUP, Plugins
from rps_core.models import Host
from rps_core.schedulers.slurm import commands
from rps_core.testing import MISSING, TIMEOUT, Answer, RecordedShell, Replies, SiteContract
from tests.contract import transcripts

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parents[2]
SCONTROL = transcripts.read("slurm/scontrol.txt")
COMETS = SCONTROL["the configuration"].answer
AWAY = SCONTROL["the controller is gone"].answer


class TestComet(SiteContract):
    cluster = "comet"
    login_hosts = ("comet-ln1", "comet-ln2", "comet-ln3", "comet-ln4", "comet-ln12")
    other_hosts = (
        "comet-14-01", "comet-30-04", "comet", "comet-ln", "comet-login1", "tscc-login1", "tscc-stratus",
        "login01", "exp-1-01", "comet-ln\u0661",
    )  # fmt: skip


class TestStratus(SiteContract):
    cluster = "stratus"
    login_hosts = ("tscc-stratus",)
    other_hosts = (
        "tscc-login1", "tscc-login2", "tscc-0-12", "tscc", "stratus", "tscc-stratus1", "comet-ln1",
    )  # fmt: skip


def claims(host: Host, answer: Replies | None = None) -> tuple[list[str], int]:
    """Return the claims on the host, without fallbacks, and the number of queries.

    Without an `answer`, a query of Slurm is an error.
    """
    known: dict[str | tuple[str, ...], Replies] = {"qstat --version": MISSING}  # `generic` asks
    if answer is not None:
        known["scontrol show config"] = answer
    shell = RecordedShell(known)
    plugins = Plugins(list(entry_points(group=GROUP)), shell=shell)
    found = plugins.detect(host, wanted="local").claims
    assert plugins.broken == []
    usable = [claim for claim in found if not claim.fallback and claim.unusable is None]
    return [claim.cluster.name for claim in usable], len(shell.calls)


def host(name: str, *programs: str, domain: str = "") -> Host:
    there = {program: f"/usr/bin/{program}" for program in programs}
    return Host(hostname=name, fqdn=f"{name}{domain}", commands=there)


@pytest.mark.parametrize(("name", "cluster"), [("comet-ln2", "comet"), ("tscc-stratus", "stratus")])
def test_a_login_node_is_known_without_a_question(name: str, cluster: str) -> None:
    for domain in ("", ".sdsc.edu"):
        assert claims(host(name, "sbatch", domain=domain)) == ([cluster], 0)
        assert claims(host(name, "qsub", "sbatch", domain=domain)) == ([cluster], 0)
    assert claims(host(name)) == ([], 0)  # a container that is called so


@pytest.mark.parametrize(
    "name", ["comet", "stratus", "tscc", "generic", "generic-torque", "generic-pbs"]
)
def test_a_scheduler_is_polled_every_15_seconds_at_most(name: str) -> None:
    """Test squeue(1), PERFORMANCE: no calls in tight loops."""
    assert cluster.find(name).loaded.settings.scheduler.poll_interval >= 15


def test_stratus_is_not_tscc() -> None:
    """Test equal first names and domains: the full name and the scheduler differ."""
    assert claims(host("tscc-login1", "qsub", domain=".sdsc.edu")) == (["tscc"], 0)
    assert claims(host("tscc-login1", "sbatch", domain=".sdsc.edu")) == ([], 0)
    assert claims(host("tscc-stratus", "qsub")) == ([], 0)
    domains = {
        contract().here().loaded.settings.proxy.domain for contract in (TestComet, TestStratus)
    }
    assert domains == {"comet-user-content.sdsc.edu", "tscc-user-content.sdsc.edu"}


@pytest.mark.parametrize("domain", ["", ".sdsc.edu", ".comet.sdsc.edu"])
@pytest.mark.parametrize("name", ["comet-14-01", "comet-30-04"])
def test_a_compute_node_is_not_a_login_node(name: str, domain: str) -> None:
    """Test that a node with the same Slurm is recognised without running a command."""
    assert claims(host(name, "sbatch", domain=domain)) == ([], 0)


@pytest.mark.parametrize(
    ("name", "domain"),
    [("comet-login7", ".sdsc.edu"), ("comet", ".sdsc.edu"), ("login7", ".comet.sdsc.edu")],
)
def test_a_host_of_another_name_is_what_its_slurm_says(name: str, domain: str) -> None:
    unknown = host(name, "sbatch", domain=domain)
    assert claims(unknown, COMETS) == (["comet"], 1)
    for other in (AWAY, TIMEOUT, MISSING, Answer(0, COMETS.stdout.replace("= comet", "= comet2"))):
        assert claims(unknown, other) == ([], 1)


def test_stratus_under_another_name() -> None:
    unknown = host("tscc-stratus2", "sbatch", domain=".sdsc.edu")
    assert claims(unknown, Answer(0, "ClusterName             = stratus\n")) == (["stratus"], 1)
    assert claims(unknown, COMETS) == ([], 1)


@pytest.mark.parametrize(
    ("name", "domain"),
    [("login01", ".expanse.sdsc.edu"), ("comet-ln2x", ""), ("comet-x", ".sdsc.edu.evil.org"),
     ("x", ".notcomet.sdsc.edu"), ("comet.evil", ".sdsc.edu"), ("login", ".example.org")],
)  # fmt: skip
def test_no_plugin_claims_another_host(name: str, domain: str) -> None:
    assert claims(host(name, "sbatch", domain=domain)) == ([], 0)


@pytest.mark.parametrize("site", ["comet", "stratus"])
def test_a_sites_own_manifest_says_the_same_as_the_projects(site: str) -> None:
    own = tomllib.loads((ROOT / "sites" / site / "pyproject.toml").read_text())
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())
    points = own["project"]["entry-points"]["rps"]
    assert points == {site: f"rps_{site}"}
    assert points.items() <= whole["project"]["entry-points"]["rps"].items()
    assert own["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [f"rps_{site}"]
    packages = whole["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert f"sites/{site}/rps_{site}" in packages


# What each option of `rps start` renders to.

OPTIONS: dict[str, list[str]] = {
    "default": [],
    "notebook": ["-s", "notebook"],
    "batch": ["-b", "slurm/notebook.sh"],
    "own-script": ["-b", "mine.sh"],
    "directory": ["-d", "."],
    "time-minutes": ["-t", "90"],
    "time-hms": ["-t", "01:30:00"],
    "time-days": ["-t", "1-12:00:00"],
    "idle": ["--idle", "30"],
    "account": ["-A", "abc123"],
    "cpus": ["-c", "8"],
    "memory": ["-m", "2G"],
    "memory-plain": ["-m", "2"],
    "nodes": ["--nodes", "2", "-m", "2048M"],
    "qos": ["--qos", "high"],
    "reservation": ["--reservation", "course.12"],
    "constraint": ["--constraint", "haswell&ib|[rack1*2]"],
    "extra": ["--extra", "--exclusive", "--extra", "--mail-type=END --mail-user=alice@example.org"],
    "odd-values": ["-A", 'a b\'s "c", $(d) \\ é', "--qos", "#1"],
    # These travel in files beside the script, and change nothing in it.
    "modules": ["--modules", "python,cuda"],
    "conda-env": ["--conda-env", "my env"],
    "venv": ["--venv", "my env"],
    "jupyter": ["--jupyter", "my jupyter"],
    "env": ["--env", "my environment.yml"],
    "with": ["--with", "numpy,torch>=2"],
    "prologue": ["--prologue", "prologue.sh"],
    "image": ["--image", "docker://quay.io/jupyter/minimal-notebook", "--bind", "/scratch", "--nv"],
}
ON: dict[str, dict[str, list[str]]] = {
    "comet": {
        **OPTIONS,
        "partition": ["-p", "debug", "-t", "30"],
        "gpus": ["-p", "gpu-shared", "-g", "2", "-c", "6"],
        "example-debug": ["-d", "~", "-p", "debug", "-t", "30"],
        "example-compute": ["-d", "~", "-A", "ddp363", "-p", "compute", "-t", "60"],
    },
    "stratus": {**OPTIONS, "partition": ["-p", "batch"], "gpus": ["-g", "2", "-c", "6"]},
}
CASES = [(cluster, name) for cluster, options in ON.items() for name in options]


def dry_run(cluster: str, options: list[str]) -> str:
    done = CliRunner().invoke(
        rps, ["start", "--dry-run", "--cluster", cluster, *options], catch_exceptions=False
    )
    return done.stdout


@pytest.mark.parametrize(("cluster", "name"), CASES)
def test_a_dry_run_of_each_option(
    cluster: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compare with the goldens; UPDATE_GOLDENS=1 writes them: review the difference."""
    monkeypatch.setenv("XDG_STATE_HOME", "/home/alice/.local/state")
    monkeypatch.setenv("PATH", str(tmp_path))  # no sacctmgr here, and no jupyter
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prologue.sh").write_text("export X=1\n")
    (tmp_path / "mine.sh").write_text(
        '#!/bin/bash\necho mine\n# rps: session\nexec /bin/sh "$RPS_SESSION/run-agent.sh" --app lab\n'
    )
    rendered = dry_run(cluster, ON[cluster][name])
    golden = GOLDEN / f"{cluster}-{name}.sh"
    if os.environ.get("UPDATE_GOLDENS"):
        golden.write_text(rendered)
    assert rendered == golden.read_text()


@pytest.mark.parametrize("cluster", ON)
def test_without_an_account_slurms_accounting_is_asked(
    cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = transcripts.read("slurm/sacctmgr.txt")["a user with a default account"].answer
    shell = RecordedShell({tuple(commands.default_account()): known})
    monkeypatch.setattr("rps_core.system.shell.bound", lambda *_: shell)
    assert "\n#SBATCH --account=abc123\n" in dry_run(cluster, [])
    assert len(shell.calls) == 1


def test_there_are_no_other_goldens() -> None:
    expected = {f"{cluster}-{name}.sh" for cluster, name in CASES}
    found = {path.name for cluster in ON for path in GOLDEN.glob(f"{cluster}-*.sh")}
    assert found == expected


def test_there_is_a_golden_for_each_option_of_start() -> None:
    """A new option has to be added above."""
    about_the_command = {
        "--cluster", "--set", "--verbose", "--log-format", "--dry-run", "--wait", "--quiet", "--json",
        "--info", "--help", "profile", "--profile", "--last", "--here", "--name", "--foreground",
        "--add-kernel",
    }  # fmt: skip
    for options in ON.values():
        used = {word for words in options.values() for word in words if word.startswith("-")}
        start = rps.commands["start"]
        missing = [
            option.opts
            for option in start.params
            if not used & set(option.opts) and not about_the_command & set(option.opts)
        ]
        assert missing == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-b", "torque/notebook.sh"], "is for torque, but this cluster runs slurm"),
        (["-p", "debug", "-t", "31"], "00:30:00"),
        (["-t", "2-00:00:01"], "2-00:00:00"),
        (["-p", "gpu-shared", "-g", "4"], "GPUs"),
        (["-g", "1"], "GPUs"),
        (["-c", "25"], "cores"),
        (["-m", "129G"], "MiB"),
        (["--qos", "a\nb"], "unprintable"),
        (["--extra", "--array=1-2"], "a session is one job"),
    ],
)
def test_what_comet_cannot_do_is_refused_before_anything_is_asked(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(rps, ["start", "--dry-run", "--cluster", "comet", *options])
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)
