"""`rps env`: the choice, the places in their order, and further environments."""

import json
import os
import venv
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rps_core.cli.main import rps


@pytest.fixture(autouse=True)
def _in_a_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPS_CLUSTER", "local")
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "LOADEDMODULES"):
        monkeypatch.delenv(name, raising=False)
    work = Path(os.environ["HOME"]) / "work"
    venv.create(work / ".venv", symlinks=True)
    monkeypatch.chdir(work)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(rps, ["env", *arguments])


def with_kernel(environment: Path) -> None:
    (next(environment.glob("lib/python*/site-packages")) / "ipykernel_launcher.py").touch()


def test_the_choice_is_explained_with_what_else_there_is() -> None:
    home = Path(os.environ["HOME"])
    with_kernel(home / "work" / ".venv")
    venv.create(home / ".virtualenvs" / "it's other", symlinks=True)
    lines = run().stdout.splitlines()
    assert lines[0].startswith("environment: work (.venv, Python 3.")
    assert lines[0].endswith("made by venv), the project in ~/work")
    assert lines[1].startswith("served by:   rps's own Jupyter, ")
    assert lines[2].startswith("kernel:      work (Python 3.")
    marked = [line.split()[1] for line in lines if line.startswith("* ")]
    assert marked == ["project"]
    assert "           rps start --jupyter rps" in lines
    assert f"           rps start --venv '{home}/.virtualenvs/it'\"'\"'s other'" in lines
    found = json.loads(run("--json").stdout)
    assert found["environment"]["prefix"] == f"{home}/work/.venv"
    assert [one["place"] for one in found["places"]] == [
        "named", "project", "modules", "active", "PATH", "site", "rps",
    ]  # fmt: skip
    assert [one["name"] for one in found["others"]] == ["it's other"]


def test_what_conda_lists_is_shown_without_what_rps_has_made() -> None:
    """Test the file that conda and micromamba append each new environment to."""
    home = Path(os.environ["HOME"])
    with_kernel(home / "work" / ".venv")
    listed = [
        home / "miniforge3" / "envs" / "ml",
        home / ".cache" / "rps" / "environments" / "abc-x86_64-1",
    ]
    for place in listed:
        (place / "conda-meta").mkdir(parents=True)
        (place / "conda-meta" / "r-base-4.4.1-h1_0.json").write_text("{}")
        (place / "bin").mkdir()
    (home / ".conda").mkdir()
    (home / ".conda" / "environments.txt").write_text("".join(f"{place}\n" for place in listed))
    found = json.loads(run("--json").stdout)
    assert [one["prefix"] for one in found["others"]] == [str(listed[0])]


def test_an_environment_that_would_be_refused_is_shown_and_ends_with_its_error() -> None:
    done = run()
    assert "has no kernel: ipykernel is not installed in it" in done.stdout
    assert done.exit_code != 0
    assert "has no kernel" in str(done.exception)
    named = run("--set", "notebook.jupyter=rps")
    assert named.exit_code == 0, named.output
    assert "* named" in named.stdout


def test_d_explains_another_directory() -> None:
    other = Path(os.environ["HOME"]) / "other"
    venv.create(other / ".venv", symlinks=True)
    with_kernel(other / ".venv")
    assert run("-d", str(other)).stdout.startswith("environment: other (.venv")
