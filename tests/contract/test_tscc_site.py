"""TSCC: the site contract, detection beside its neighbours, and rendering."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from rps_core.cli.main import rps
from rps_core.errors import UsageError
from rps_core.testing import SiteContract

GOLDEN = Path(__file__).parent / "golden"


class TestTscc(SiteContract):
    cluster = "tscc"
    login_hosts = ("tscc-login1", "tscc-login2", "tscc-login12")
    other_hosts = (
        "tscc-stratus", "tscc-0-12", "tscc-5-1", "tscc-login", "tscc-mgr7", "tscc", "tscc-login-1",
        "comet-ln1", "comet-14-01", "tscc-loginl", "tscc-login\u0661",
    )  # fmt: skip
    commands: tuple[str, ...] = ("qsub",)


class TestTsccWithSlurmsWrappers(TestTscc):
    """A host where qsub is Slurm's wrapper, beside sbatch."""

    commands = ("sbatch", "qsub")


def test_the_name_alone_is_not_enough() -> None:
    """Test a host without qsub: TSCC may have moved to Slurm."""
    contract = TestTscc()
    contract.commands = ("sbatch",)
    assert contract.plugins().detect(contract.host("tscc-login1"), wanted="tscc").claims == ()
    contract.commands = ()
    (claim,) = contract.plugins().detect(contract.host("tscc-login1"), wanted="tscc").claims
    assert claim.unusable == "tscc-login1 is a login node of TSCC, but `qsub` is not on the PATH"


def test_no_plugin_is_asked_to_detect_it() -> None:
    """Test that detection runs no command: the contract's `detection` is empty."""
    assert TestTscc.detection == {}


OPTIONS: dict[str, list[str]] = {
    "default": [],
    "notebook": ["-s", "notebook"],
    "batch": ["-b", "torque/notebook.sh"],
    "own-script": ["-b", "mine.sh"],
    "directory": ["-d", "."],
    "idle": ["--idle", "30"],
    "time-minutes": ["-t", "90"],
    "time-hms": ["-t", "01:30:00"],
    "time-days": ["-p", "hotel", "-t", "7-00:00:00"],
    "partition": ["-p", "condo"],
    "account": ["-A", "abc123"],
    "gpus": ["-p", "gpu-hotel", "-g", "2", "-c", "4"],
    "cpus": ["-c", "8"],
    "memory": ["-m", "2G"],
    "memory-plain": ["-m", "2"],
    "nodes": ["--nodes", "2", "-m", "2048M"],
    "qos": ["--qos", "high"],
    "reservation": ["--reservation", "course.12"],
    "constraint": ["--constraint", "haswell:ib"],
    "extra": ["--extra", "-l nice=5", "--extra", "-m abe"],
    # These travel in files beside the script, and change nothing in it.
    "modules": ["--modules", "python,cuda"],
    "conda-env": ["--conda-env", "my env"],
    "prologue": ["--prologue", "prologue.sh"],
    "image": ["--image", "docker://quay.io/jupyter/minimal-notebook", "--bind", "/scratch", "--nv"],
    "venv": ["--venv", "my env"],
    "jupyter": ["--jupyter", "my jupyter"],
    "env": ["--env", "my environment.yml"],
    "with": ["--with", "numpy,torch>=2"],
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_dry_run_of_each_option(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compare with the goldens; UPDATE_GOLDENS=1 writes them: review the difference."""
    monkeypatch.setenv("XDG_STATE_HOME", "/home/alice/.local/state")
    monkeypatch.setenv("PATH", str(tmp_path))  # no gbalance here, and no jupyter
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prologue.sh").write_text("export X=1\n")
    (tmp_path / "mine.sh").write_text(
        '#!/bin/bash\necho mine\n# rps: session\nexec /bin/sh "$RPS_SESSION/run-agent.sh" --app lab\n'
    )
    done = CliRunner().invoke(
        rps, ["start", "--dry-run", "--cluster", "tscc", *OPTIONS[name]], catch_exceptions=False
    )
    golden = GOLDEN / f"tscc-{name}.sh"
    if os.environ.get("UPDATE_GOLDENS"):
        GOLDEN.mkdir(exist_ok=True)
        golden.write_text(done.stdout)
    assert done.stdout == golden.read_text()


def test_there_is_a_golden_for_each_option_of_start() -> None:
    """A new option has to be added above."""
    used = {word for words in OPTIONS.values() for word in words if word.startswith("-")}
    about_the_command = {
        "--cluster", "--set", "--verbose", "--log-format", "--dry-run", "--wait", "--quiet", "--json",
        "--info", "--help", "profile", "--profile", "--last", "--here", "--name", "--foreground",
        "--add-kernel",
    }  # fmt: skip
    start = rps.get_command(None, "start")  # type: ignore[arg-type]
    assert start is not None
    missing = [
        option.opts
        for option in start.params
        if not used & set(option.opts) and not about_the_command & set(option.opts)
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-b", "slurm/notebook.sh"], "is for slurm, but this cluster runs torque"),
        (["-p", "condo", "-t", "481"], "08:00:00"),
        (["-p", "hotel", "-t", "7-00:00:01"], "7-00:00:00"),
        (["-g", "1"], "GPU"),
        (["-c", "17"], "16"),
        (["-p", "pdafm", "-c", "33"], "32"),
        (["-m", "129G"], "131072"),
        (["-A", "a b"], "is not a valid account"),
        (["-p", "$(id)"], "is not a valid queue"),
        (["--qos", "a,b"], "is not a valid quality of service"),
        (["--extra", "-l a=1\n#PBS -q b"], "line break"),
        (["-b", "binary"], "not a"),
    ],
)
def test_what_cannot_be_is_refused(
    options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/home/alice/.local/state")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "binary").write_bytes(b"\x7fELF\x00\xff")
    done = CliRunner().invoke(rps, ["start", "--dry-run", "--cluster", "tscc", *options])
    assert isinstance(done.exception, UsageError), done.output
    assert message in str(done.exception)
