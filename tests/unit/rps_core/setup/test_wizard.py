"""`rps init`: what it offers, writes and keeps; and its dialogue on a terminal."""

import sys
from pathlib import Path

import pytest

from rps_core.config import yaml_text
from rps_core.setup import jupyters as environments
from rps_core.setup import wizard as init
from rps_core.setup.choices import Choices
from rps_core.system import paths

SECTION = "  here:\n    job:\n      account: abc123\n"


@pytest.mark.parametrize(
    "old",
    [
        "",
        "# nothing yet\n",
        "job: {account: x}",
        "sites:\n  there:\n    job: {account: y}\n",
        "sites:\n    there:\n        job: {account: y}\n",
        "sites: {there: {job: {account: y}}}\n",
        "sites:\n",
        "sites:\n  there: {}\njob: {account: x}\n",
        "notebook:\n  prologue: |\n    text\n",
    ],
)
def test_a_section_is_added_or_an_error_is_reported(old: str) -> None:
    new = init.joined(old, "here", SECTION)
    before = yaml_text.parse(old, "").values
    if new is None:  # written in another style, or not at the end
        assert "sites" in before
        return
    after = yaml_text.parse(new, "").values
    assert after["sites"]["here"] == {"job": {"account": "abc123"}}
    assert new.startswith(old.rstrip()) or not old.strip()
    assert init.joined(new, "here", SECTION) == new


def test_odd_names_stay_text() -> None:
    for odd in ("00123", "null", "a: b", "#x", "ümlaut", "1e3", "yes", '"', "[a]"):
        text = f"a: {init._scalar(odd)}\nb: {init._scalar([odd, odd])}\n"
        assert yaml_text.parse(text, "").values == {"a": odd, "b": [odd, odd]}


def test_modules_whose_python_runs_a_jupyter_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test `pip install --user` and a venv: the job needs modules and the path."""
    python = tmp_path / "apps" / "bin" / "python3.11"
    python.parent.mkdir(parents=True)
    python.touch()
    venv = paths.home() / "venv" / "bin"
    venv.mkdir(parents=True)
    (venv / "python").symlink_to(python)
    monkeypatch.setenv("LOADEDMODULES", "python/3.11")
    monkeypatch.setenv("PATH", str(venv))
    program = venv / "jupyter-lab"
    wanted = {"modules": ["python/3.11"], "jupyter": f"{venv}/jupyter"}
    for head in (
        f"#!{venv}/python",
        f"#!{python} -sE",
        f"#!/bin/sh\n'''exec' \"{venv}/python\" \"$0\"",
    ):
        program.write_text(f"{head}\n")
        program.chmod(0o755)
        assert environments.found()[0].settings == wanted, head
    nothing = Choices(partitions=(), allocations=(), profiles=())
    section = init._section("x", {f"notebook.{key}": one for key, one in wanted.items()}, nothing)
    assert f'jupyter: "{venv}/jupyter"\n' in section
    for head in ("#!/usr/bin/python3", f"#!{paths.home()}/miniconda3/bin/python"):  # of no module
        program.write_text(f"{head}\n")
        assert environments.found()[0].settings == {}, head


def test_environments_that_have_jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = paths.home() / ".conda" / "environments.txt"
    listed.parent.mkdir()
    for name in ("with", "without"):
        (tmp_path / name / "bin").mkdir(parents=True)
    program = tmp_path / "with" / "bin" / "jupyter-lab"
    program.write_text("")
    program.chmod(0o755)
    listed.write_text(f"{tmp_path}/with\n{tmp_path}/without\n{tmp_path}/gone\n")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert [one.settings for one in environments.found()] == [{"conda_env": f"{tmp_path}/with"}]
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("LOADEDMODULES", "gcc/12:anaconda/3")
    found = environments.found()
    assert found[0].settings == {"modules": ["gcc/12", "anaconda/3"]}
    assert found[1].settings == {}
