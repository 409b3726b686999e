"""Comet and Stratus: the contract of every site, detection beside neighbours, and what each option
renders to. (TSCC, with its other scheduler, has a file of its own.)"""

from __future__ import annotations

import os
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner

from rps_core.cli import rps
from rps_core.errors import UsageError
from rps_core.models import Host
from rps_core.plugins import GROUP, Plugins
from rps_core.schedulers import slurm_commands as commands
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
    """Who claims the host as one to start from, fallbacks left out, and how often a scheduler was asked.
    Without an `answer` asking Slurm is an error."""
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


def test_stratus_is_not_tscc() -> None:
    """The first part of the name and the domain are the same: the whole name and the scheduler differ."""
    assert claims(host("tscc-login1", "qsub", domain=".sdsc.edu")) == (["tscc"], 0)
    assert claims(host("tscc-login1", "sbatch", domain=".sdsc.edu")) == ([], 0)
    assert claims(host("tscc-stratus", "qsub")) == ([], 1)
    domains = {
        contract().here().loaded.settings.proxy.domain for contract in (TestComet, TestStratus)
    }
    assert domains == {"comet-user-content.sdsc.edu", "tscc-user-content.sdsc.edu"}


@pytest.mark.parametrize("domain", ["", ".sdsc.edu", ".comet.sdsc.edu"])
@pytest.mark.parametrize("name", ["comet-14-01", "comet-30-04"])
def test_a_compute_node_is_not_a_login_node(name: str, domain: str) -> None:
    """It has the same Slurm, so that nobody need be asked."""
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
def test_elsewhere_nobody_asks(name: str, domain: str) -> None:
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
    """UPDATE_GOLDENS=1 writes what is rendered now; look at the difference before it is kept."""
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
    monkeypatch.setattr("rps_core.shell.run", shell)
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
        "--info", "--help", "profile", "--profile", "--last", "--here",
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
    ("options", "told"),
    [
        (["-b", "torque/notebook.sh"], "is for torque; this cluster runs slurm"),
        (["-p", "debug", "-t", "31"], "00:30:00"),
        (["-t", "2-00:00:01"], "2-00:00:00"),
        (["-p", "gpu-shared", "-g", "4"], "GPUs"),
        (["-g", "1"], "GPUs"),
        (["-c", "25"], "cores"),
        (["-m", "129G"], "MiB"),
        (["--qos", "a\nb"], "line break"),
        (["--extra", "--array=1-2"], "a session is one job"),
    ],
)
def test_what_comet_cannot_do_is_refused_before_anything_is_asked(
    options: list[str], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(rps, ["start", "--dry-run", "--cluster", "comet", *options])
    assert isinstance(done.exception, UsageError)
    assert told in str(done.exception)
