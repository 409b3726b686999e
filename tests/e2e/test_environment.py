"""The environment of a session: found in the project, served, shown, and taken again."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.visitor import Visitor
from tests.stands import conda_channel

Start = Callable[..., dict[str, Any]]
Visit = Callable[[str], Visitor]
WHERE = "import os, shutil, sys, of_the_project\nprint(sys.prefix, shutil.which('pip'), of_the_project.WORD)"


@pytest.fixture
def project(installed: Any) -> Iterator[Path]:
    """Yield a project of the user, whose name is none that a shell would take for one word."""
    place = installed.user.make(Path(installed.user.home) / "it's a $(proj) ü")
    yield place
    shutil.rmtree(place)


def venv(installed: Any, place: Path, *, kernel: bool = True) -> Path:
    """Make a real venv with a package of its own.

    `kernel`: with the ipykernel of rps, by a .pth file: an installation would take half a minute.
    """
    python = str(installed.directory / ".venv/bin/python")
    installed.user.run([python, "-m", "venv", "--without-pip", str(place)], check=True)
    packages = next(place.glob("lib/python*/site-packages"))
    (packages / "of_the_project.py").write_text("WORD = 'imported'\n")
    (place / "bin" / "pip").write_text("#!/bin/sh\n")
    (place / "bin" / "pip").chmod(0o755)
    if kernel:
        theirs = next((installed.directory / ".venv").glob("lib/python*/site-packages"))
        (packages / "kernel.pth").write_text(f"{theirs}\n")
    return place


def test_a_project_with_a_kernel_alone_is_served_shown_and_kept(
    installed: Any, project: Path, start: Start, visit: Visit
) -> None:
    place = venv(installed, project / ".venv")
    inside = installed.user.make(project / "notebooks")
    found = start(cwd=inside)
    line = found["environment"]["line"]
    assert line.startswith("it's a $(proj) ü (.venv, Python 3.")
    assert line.endswith("made by venv), the project in ~/it's a $(proj) ü")
    ran = visit(found["url"]).run_cell(WHERE)
    assert ran == f"{place} {place}/bin/pip imported\n"
    assert installed.rps("logs", found["name"]).stdout.splitlines()[0] == f"environment: {line}"
    assert f"environment: {line}" in installed.rps("status", found["name"]).stdout
    specs = Path(installed.user.home) / ".local" / "share" / "jupyter" / "kernels"
    assert not specs.exists()  # nothing is written into the home
    installed.rps("stop", found["name"])

    other = venv(installed, project / "other")
    again = installed.rps(
        "again", found["name"], "--wait", "--json", env={"VIRTUAL_ENV": str(other)}
    )
    taken = json.loads(again.stdout)
    assert taken["environment"]["prefix"] == str(place)
    assert visit(taken["url"]).run_cell(WHERE) == ran


def test_a_kernel_that_cannot_be_added_is_refused_with_the_words_of_the_tool(
    installed: Any, project: Path
) -> None:
    """Test the real uv: its environments have no pip."""
    uv = Path(sys.executable).with_name("uv")
    programs = installed.user.make(project / "bin")
    shutil.copy2(uv, programs / "uv")
    env = {"PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin"}
    place = project / ".venv"
    python = str(installed.directory / ".venv/bin/python")
    made = [str(programs / "uv"), "venv", "--quiet", "--python", python, str(place)]
    installed.user.run(made, check=True, env=env, timeout=120)
    (next(place.glob("lib/python*/site-packages")) / "of_the_project.py").write_text("WORD = 1\n")

    refused = installed.rps("start", cwd=project, env=env, check=False)
    assert refused.returncode == 2
    assert "has no kernel: ipykernel is not installed in it" in refused.stderr
    assert "uv pip install --python" in refused.stderr
    assert json.loads(installed.rps("list", "--json").stdout) == []

    failed = installed.rps(
        "start", "--add-kernel", cwd=project, env={**env, "UV_OFFLINE": "1", "UV_NO_CACHE": "1"}, check=False
    )  # fmt: skip
    assert failed.returncode == 2
    assert "`uv` ended with exit code" in failed.stderr
    assert "ipykernel" in failed.stderr.partition("ended with exit code")[2]


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_a_kernel_is_added_by_the_environments_own_tool(
    installed: Any, project: Path, start: Start, visit: Visit, variables: dict[str, str], tool: str
) -> None:
    """Test the real ones, from a directory of wheels: a venv of Python has pip, one of uv has none."""
    place = project / ".venv"
    python = str(installed.directory / ".venv/bin/python")
    make = ["-m", "venv"] if tool == "pip" else ["venv", "--quiet", "--python", python]
    program = python if tool == "pip" else "uv"
    installed.user.run([program, *make, str(place)], check=True, env=variables)
    env = variables if tool == "uv" else variables | {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    assert not list(place.glob("lib/python*/site-packages/ipykernel"))
    found = start("--add-kernel", cwd=project, env=env)
    assert found["environment"]["prefix"] == str(place)
    code = "import ipykernel, sys; print(sys.prefix, ipykernel.__file__)"
    ran = visit(found["url"]).run_cell(code)
    assert ran.startswith(f"{place} {place}/lib/python3")


@pytest.mark.parametrize("options", [(), ("--venv", ".venv")], ids=["found", "named"])
def test_a_venv_whose_python_is_gone_costs_no_job(
    installed: Any, project: Path, options: tuple[str, ...]
) -> None:
    place = venv(installed, project / ".venv")
    for name in ("python", "python3"):
        (place / "bin" / name).unlink()
        (place / "bin" / name).symlink_to("/gone/bin/python3.12")
    done = installed.rps("start", *options, cwd=project, check=False)
    assert done.returncode == 2
    assert "its Python is gone: there is no /gone/bin/python3.12" in done.stderr
    assert "python3 -m venv --clear" in done.stderr
    assert json.loads(installed.rps("list", "--json").stdout) == []
    shown = installed.rps("start", "--dry-run", *options, cwd=project)
    assert "its Python is gone" in shown.stderr


def test_a_conda_environment_of_the_project_is_active_in_its_notebooks(
    installed: Any,
    project: Path,
    ground: Path,
    start: Start,
    visit: Visit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Made by rattler; the job has no conda. In it are variables and scripts, as packages bring them."""
    monkeypatch.setenv("RATTLER_CACHE_DIR", str(ground / "packages"))
    channel = conda_channel.write(ground / "channel", str(installed.directory / ".venv/bin/python"))
    place = conda_channel.make(project / "conda", channel, "python", "ipykernel", "gdal-data")
    state = {"env_vars": {"MINE": "it's\n$HOME"}}
    (place / "conda-meta" / "state").write_text(json.dumps(state))
    for path in (place, *place.rglob("*")):
        os.lchown(path, installed.user.uid, installed.user.gid)
    found = start(cwd=project)
    assert (found["environment"]["kind"], found["environment"]["prefix"]) == ("conda", str(place))
    names = ("CONDA_PREFIX", "GDAL_DATA", "OF_A_PACKAGE", "MINE", "ACTIVATED")
    code = f"import os, sys; print([sys.prefix, *map(os.environ.get, {names})])"
    ran = visit(found["url"]).run_cell(code)
    words = ['it\'s $HOME "é"', "it's\n$HOME", "once "]
    values = [str(place), str(place), f"{place}/share/gdal", *words]
    assert ran == f"{values}\n"
    installed.rps("stop", found["name"])

    # Half deleted, it costs no job.
    (place / "bin" / "python").unlink()
    done = installed.rps("start", cwd=project, check=False)
    assert done.returncode == 2
    assert f"its Python is gone: there is no {place}/bin/python" in done.stderr
