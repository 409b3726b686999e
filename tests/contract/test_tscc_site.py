"""TSCC: the contract of every site, detection beside its neighbours, and what each option renders to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from rps_core.cli import rps
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
    """Where qsub is Slurm's, there is an sbatch beside it."""

    commands = ("sbatch", "qsub")


def test_the_name_alone_is_not_enough() -> None:
    """A laptop called so, or TSCC after it has moved to Slurm alone."""
    contract = TestTscc()
    without: tuple[tuple[str, ...], ...] = ((), ("sbatch",))
    for commands in without:
        contract.commands = commands
        detection = contract.plugins().detect(contract.host("tscc-login1"), wanted="tscc")
        assert "tscc" not in {claim.cluster.name for claim in detection.claims}


def test_nobody_is_asked_to_detect_it() -> None:
    """`detection` of the contract is empty: a command that is run there fails the test."""
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
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_dry_run_of_each_option(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """UPDATE_GOLDENS=1 writes what is rendered now; look at the difference before it is kept."""
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
        "--info", "--help", "profile", "--profile", "--last", "--here",
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
    ("options", "told"),
    [
        (["-b", "slurm/notebook.sh"], "is for slurm; this cluster runs torque"),
        (["-p", "condo", "-t", "481"], "08:00:00"),
        (["-p", "hotel", "-t", "7-00:00:01"], "7-00:00:00"),
        (["-g", "1"], "GPU"),
        (["-c", "17"], "16"),
        (["-p", "pdafm", "-c", "33"], "32"),
        (["-m", "129G"], "131072"),
        (["-A", "a b"], "No account can be called"),
        (["-p", "$(id)"], "No queue can be called"),
        (["--qos", "a,b"], "No quality of service can be called"),
        (["--extra", "-l a=1\n#PBS -q b"], "line break"),
        (["-b", "binary"], "not a"),
    ],
)
def test_what_cannot_be_is_refused(
    options: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/home/alice/.local/state")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "binary").write_bytes(b"\x7fELF\x00\xff")
    done = CliRunner().invoke(rps, ["start", "--dry-run", "--cluster", "tscc", *options])
    assert isinstance(done.exception, UsageError), done.output
    assert told in str(done.exception)
