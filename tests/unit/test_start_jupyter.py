"""`start-jupyter`: the seed's command lines, and what they come to. No scheduler is asked."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from rps_core.cli import rps
from rps_core.start_jupyter import command


def script(monkeypatch: pytest.MonkeyPatch, *arguments: str, cluster: str = "comet") -> str:
    monkeypatch.setenv("RPS_CLUSTER", cluster)
    monkeypatch.setenv("RPS_JOB_ACCOUNT", "abc123")
    done = CliRunner().invoke(command, ["--dry-run", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(
    ("arguments", "cluster", "told"),
    [
        ("", "comet", ["--partition=compute", "--time=00:30:00", "--app notebook"]),
        ("", "stratus", ["--partition=interactive", "--app notebook"]),
        ("", "tscc", ["-q interactive", "--app notebook"]),
        ("-b slurm/jupyterlab.sh", "comet", ["--app lab"]),
        ("-b torque/jupyterlab.sh", "tscc", ["--app lab"]),
        ("-d ~ -p debug -t 30", "comet", ["--partition=debug", "--time=00:30:00"]),
        ("-d ~ -A ddp363 -p compute -t 60", "comet", ["--account=ddp363", "--time=01:00:00"]),
        ("-p compute 45", "comet", ["--time=00:45:00"]),
        ("45 -p compute", "comet", ["--time=00:45:00"]),
        ("-p shared 1-00:00:00 -i", "comet", ["--time=1-00:00:00"]),
    ],
)
def test_the_seeds_examples(
    monkeypatch: pytest.MonkeyPatch, arguments: str, cluster: str, told: list[str]
) -> None:
    words = [os.path.expanduser(word) for word in arguments.split()]  # noqa: PTH111 - as a shell does
    shown = script(monkeypatch, *words, cluster=cluster)
    for text in told:
        assert text in shown


def test_two_different_times_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPS_CLUSTER", "comet")
    done = CliRunner().invoke(command, ["--dry-run", "-t", "30", "45"])
    assert "Two times were given" in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-p", "debug", "-t", "31"], "00:31:00 is more than the 00:30:00"),
        (
            ["-p", "compute", "-g", "1"],
            "partition compute has no GPUs\nTake a partition that has (-p): gpu, gpu-shared.",
        ),
        (["-p", "gpu-shared", "-g", "9"], "9 GPUs on a node is more than the 3 that"),
        (["-c", "25"], "Ask for 24 cores or less, or take another partition (-p)."),
        (["-b", "torque/notebook.sh"], "is for torque; this cluster runs slurm"),
        (["-m", "lots"], "is not an amount of memory"),
        (["--bind", "/x"], "means nothing without an image"),
        (["--image", "/nowhere.sif"], "there is no image"),
        (["--prologue", "/nowhere.sh"], "cannot be read"),
    ],
)
def test_what_comet_cannot_give_is_said_before_any_queue(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.setenv("RPS_CLUSTER", "comet")
    monkeypatch.setenv("RPS_JOB_ACCOUNT", "abc123")
    done = CliRunner().invoke(rps, ["start", "--dry-run", *arguments])
    assert told in str(done.exception), done.output


def test_the_default_account_is_remembered_and_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first dry run asks `sacctmgr`, the second does not."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sacctmgr").write_text("#!/bin/sh\necho asked >>$0.log\necho 'abc999'\n")
    (programs / "sacctmgr").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("RPS_CLUSTER", "comet")
    for _ in range(2):
        done = CliRunner().invoke(rps, ["start", "--dry-run"], catch_exceptions=False)
        assert "#SBATCH --account=abc999" in done.output
    assert (programs / "sacctmgr.log").read_text() == "asked\n"
