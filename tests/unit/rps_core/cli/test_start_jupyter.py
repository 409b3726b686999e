"""`start-jupyter`: the command lines of its documentation, without a scheduler."""

import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rps_core.cli.main import rps
from rps_core.cli.start_jupyter import command


def script(monkeypatch: pytest.MonkeyPatch, *arguments: str, cluster: str = "comet") -> str:
    monkeypatch.setenv("RPS_CLUSTER", cluster)
    monkeypatch.setenv("RPS_JOB_ACCOUNT", "abc123")
    done = CliRunner().invoke(command, ["--dry-run", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(
    ("arguments", "cluster", "messages"),
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
    monkeypatch: pytest.MonkeyPatch, arguments: str, cluster: str, messages: list[str]
) -> None:
    words = [os.path.expanduser(word) for word in arguments.split()]  # noqa: PTH111 - as a shell does
    shown = script(monkeypatch, *words, cluster=cluster)
    for text in messages:
        assert text in shown


# The last version of the deployed script: its usage, the examples of its README, and its getopts.
@pytest.mark.parametrize(
    ("arguments", "cluster", "messages"),
    [
        ("-s jupyterlab", "comet", ["--app lab"]),
        ("-s notebook", "comet", ["--app notebook"]),
        ("-I", "comet", ["--partition=compute", "--time=00:30:00", "--app notebook"]),
        ("-Iq -s jupyterlab -t 60", "comet", ["--app lab", "--time=01:00:00"]),
        ("-p gpu-shared -g 1 -d ~", "comet", ["--partition=gpu-shared", "--gres=gpu:1"]),
        ("-g 0 -t 90", "comet", ["--time=01:30:00"]),
        ("-t 00:30:00 -g 1 -p gpu-shared -i {image}", "comet", ["--gres=gpu:1", "--time=00:30:00"]),
        ("-i{image} -I", "comet", ["--app notebook"]),
        ("-b ./slurm/jupyterlab.sh", "comet", ["--app lab"]),
        ("-b batch/batch_notebook.sh", "comet", ["--app notebook"]),
        ("-b ./batch/batch_jupyterlab.sh", "comet", ["--app lab"]),
        ("-b slurm_expanse/notebook.sh", "comet", ["--app notebook"]),
        ("-b ./torque/jupyterlab.sh", "tscc", ["--app lab"]),
        ("-f -t 90 -p debug -A other -g 3", "comet", ["--partition=compute", "--time=00:30:00"]),
        ("-A abc123 -q -s notebook", "tscc", ["-A abc123", "--app notebook"]),
        # Of an earlier version: -i had no argument.
        ("-i 45", "comet", ["--time=00:45:00"]),
        ("-i -p debug", "comet", ["--partition=debug"]),
    ],
)
def test_the_options_of_the_deployed_script(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: str,
    cluster: str,
    messages: list[str],
) -> None:
    image = tmp_path / "notebook.sif"
    image.touch()
    monkeypatch.chdir(tmp_path)
    words = [os.path.expanduser(word) for word in arguments.format(image=image).split()]  # noqa: PTH111
    shown = script(monkeypatch, *words, cluster=cluster)
    for text in messages:
        assert text in shown
    if "-g 0" in arguments or "-f" in arguments:
        assert "gpu" not in shown.replace("gpu-", "")


def test_no_gpus_where_a_file_or_a_profile_sets_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPS_JOB_PARTITION", "gpu-shared")
    monkeypatch.setenv("RPS_JOB_GPUS", "2")
    assert "--gres=gpu:2" in script(monkeypatch)
    assert "--gres" not in script(monkeypatch, "-g", "0")


def test_its_details_are_of_minus_i_without_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test `-i` without an image, and `-I` as in the last version."""
    heard: list[tuple[bool, object]] = []

    def note(**options: Any) -> None:
        heard.append((options["info"], options["notebook__image"]))

    monkeypatch.setattr("rps_core.cli.start_jupyter.start.callback", note)
    for words in ("", "-I", "--info", "-i", "-i 30", "-i x.sif", "-I -i x.sif"):
        CliRunner().invoke(command, words.split(), catch_exceptions=False)
    assert heard == [(False, None), *[(True, None)] * 4, (False, "x.sif"), (True, "x.sif")]


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        ("-i one.sif --image two.sif", "-i and --image differ: one.sif and two.sif"),
        ("-i 30 45", "TIME and TIME differ: 45 and 30"),
        ("-i /nowhere.sif", "container image not found"),
        ("-b slurm/tensorflow_notebook.sh", "it calls redeemtoken.cgi"),
        ("-s lab -g -1", "job.gpus"),
    ],
)
def test_what_it_refuses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: str, messages: str
) -> None:
    theirs = tmp_path / "slurm" / "tensorflow_notebook.sh"  # in a clone of the deployed script's
    theirs.parent.mkdir()
    theirs.write_text("#!/bin/bash\ncurl https://manage.$endpoint/redeemtoken.cgi?token=x\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RPS_CLUSTER", "comet")
    done = CliRunner().invoke(command, ["--dry-run", *arguments.split()])
    assert messages in str(done.exception), done.output


def test_a_batch_script_of_the_users_own_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Test a script named like a deployed one, unless it is a copy of that one."""
    own = tmp_path / "slurm" / "notebook.sh"
    own.parent.mkdir()
    monkeypatch.chdir(tmp_path)
    own.write_text("#!/bin/bash\n# mine\n")
    assert "# mine" in script(monkeypatch, "-b", "./slurm/notebook.sh")
    own.write_text("#!/bin/bash\n# mine\neval curl $endpoint/redeemtoken.cgi\n")
    assert "# mine" not in script(monkeypatch, "-b", "./slurm/notebook.sh")


def test_two_different_times_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPS_CLUSTER", "comet")
    done = CliRunner().invoke(command, ["--dry-run", "-t", "30", "45"])
    assert "TIME and --time differ: 45 and 30" in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["-p", "debug", "-t", "31"], "00:31:00 exceeds the limit 00:30:00"),
        (
            ["-p", "compute", "-g", "1"],
            "partition compute has no GPUs\nUse a partition with GPUs (-p): gpu, gpu-shared.",
        ),
        (["-p", "gpu-shared", "-g", "9"], "9 GPUs per node requested, but a node of"),
        (["-c", "25"], "Request at most 24 cores, or use another partition (-p)."),
        (["-b", "torque/notebook.sh"], "is for torque, but this cluster runs slurm"),
        (["-m", "lots"], "is not an amount of memory"),
        (["--bind", "/x"], "requires a container image"),
        (["--image", "/nowhere.sif"], "container image not found"),
        (["--prologue", "/nowhere.sh"], "cannot read the prologue"),
    ],
)
def test_what_comet_cannot_give_is_said_before_any_queue(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], messages: str
) -> None:
    monkeypatch.setenv("RPS_CLUSTER", "comet")
    monkeypatch.setenv("RPS_JOB_ACCOUNT", "abc123")
    done = CliRunner().invoke(rps, ["start", "--dry-run", *arguments])
    assert messages in str(done.exception), done.output
