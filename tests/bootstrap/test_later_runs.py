"""Later runs of `./rps`: nothing to do without a change, and repair after one."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import OrdinaryUser

BARE = {"RPS_EXTRAS": ""}


@pytest.fixture(scope="module")
def clone(ordinary_user: OrdinaryUser, clone_project: Callable[[Path], Path]) -> Path:
    """Installed without extras. The tests change it, and leave it installed.

    Another extra of it is of one small package.
    """
    directory = clone_project(ordinary_user.home / "warm clone")
    project = directory / "pyproject.toml"
    table = "[project.optional-dependencies]\n"
    project.write_text(project.read_text().replace(table, f'{table}small = ["iniconfig"]\n'))
    done = run(ordinary_user, directory, **BARE)
    assert done.returncode == 0, done.stderr
    return directory


def run(user: OrdinaryUser, clone: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return user.run([str(clone / "rps"), "--version"], env=env, capture_output=True, timeout=600)


def assert_silent(user: OrdinaryUser, clone: Path) -> None:
    done = run(user, clone)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("rps ")


def test_it_is_silent_and_needs_nothing_but_cmp(ordinary_user: OrdinaryUser, clone: Path) -> None:
    place = ordinary_user.make(ordinary_user.home / "only cmp")
    (place / "cmp").symlink_to(shutil.which("cmp", path="/usr/bin:/bin") or "cmp")
    done = run(ordinary_user, clone, PATH=str(place))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("rps ")


def test_it_forks_one_cmp(
    ordinary_user: OrdinaryUser, clone: Path, need: Callable[[str], str]
) -> None:
    traces = ordinary_user.make(ordinary_user.home / "traces")
    command = [need("strace"), "-ff", "-qq", "-o", str(traces / "of"), "-e", "trace=process"]
    done = ordinary_user.run([*command, str(clone / "rps"), "--version"], capture_output=True)
    assert done.returncode == 0, done.stderr
    calls = [trace.read_text().splitlines() for trace in traces.iterdir()]  # of each process
    programs = [
        [Path(call.split('"')[1]).name for call in process if re.match(r"execve\(.* = 0$", call)]
        for process in calls
    ]
    assert sorted(programs) == [["cmp"], ["rps", "python"]]


def test_it_is_reached_by_links_and_relative_paths(
    ordinary_user: OrdinaryUser, clone: Path
) -> None:
    bin_directory = ordinary_user.make(ordinary_user.home / "bin")
    (bin_directory / "absolute").symlink_to(clone / "rps")
    (bin_directory / "relative").symlink_to(Path("..") / clone.name / "rps")
    (bin_directory / "twice").symlink_to("relative")
    for command, directory in (
        (["absolute"], clone),
        (["relative"], clone),
        (["twice"], clone),
        (["./rps"], clone),
        (["sh", "rps"], clone),
        ([f"{clone.name}/rps"], clone.parent),
    ):
        done = ordinary_user.run(
            ["/usr/bin/env", f"--chdir={directory}", *command, "--version"],
            env={"PATH": f"{bin_directory}:/usr/bin:/bin"},
            capture_output=True,
        )
        assert (done.returncode, done.stderr) == (0, ""), command


def test_a_changed_pyproject_is_installed(ordinary_user: OrdinaryUser, clone: Path) -> None:
    project = clone / "pyproject.toml"
    project.write_text(
        project.read_text().replace(
            "[project.scripts]\n", '[project.scripts]\nrps-2 = "os:getpid"\n'
        )
    )
    place = ordinary_user.make(ordinary_user.home / "no python is needed for that")
    for tool in ("cmp", "cp"):
        (place / tool).symlink_to(shutil.which(tool, path="/usr/bin:/bin") or tool)
    done = run(ordinary_user, clone, PATH=str(place))
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stderr.splitlines()] == ["updating", "installed"]
    assert (clone / ".venv" / "bin" / "rps-2").exists()
    assert not list(clone.glob(".venv/lib/*/site-packages/jupyterlab")), (
        "the extras stay as they were"
    )
    assert_silent(ordinary_user, clone)


def test_an_update_that_failed_a_move_and_a_lost_python_are_repaired(
    ordinary_user: OrdinaryUser, clone: Path
) -> None:
    """Test that each of the three is seen, and all at once repaired.

    The command `rps` is another one there.
    """
    venv = clone / ".venv"
    stamp = (venv / "rps-stamp").read_text()
    moved = clone.with_name("moved clone")
    clone.rename(moved)
    assert_it_would_install_again(ordinary_user, moved)
    moved.rename(clone)
    assert_silent(ordinary_user, clone)
    # The one that the others lead to.
    (python,) = (path for path in venv.glob("bin/python*") if path.readlink().is_absolute())
    target = python.readlink()
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert_it_would_install_again(ordinary_user, clone)
    python.unlink()
    python.symlink_to(target)
    assert_silent(ordinary_user, clone)

    project = clone / "pyproject.toml"
    good = project.read_text()
    project.write_text(good.replace('"click>=8.1"', '"click>=999"'))
    done = run(ordinary_user, clone)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "click>=999" in done.stderr
    assert f"the whole log is in {clone}/.venv.log" in done.stderr
    project.write_text(good)
    assert_it_would_install_again(ordinary_user, clone)

    ordinary_user.run(["cp", "--archive", str(clone), str(moved)], check=True)
    (moved / ".venv" / "bin" / python.name).unlink()
    place = ordinary_user.make(ordinary_user.home / "another rps")
    (place / "rps").write_text("#!/bin/sh\n")
    (place / "rps").chmod(0o755)
    done = run(ordinary_user, moved, PATH=f"{place}:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert "installing into" in done.stderr
    assert done.stderr.endswith(f"is another one, {place}/rps; this one is {moved}/rps\n")
    assert not list(moved.glob(".venv/lib/*/site-packages/jupyterlab")), "the choice is kept"
    assert_silent(ordinary_user, moved)
    (venv / "rps-stamp").write_text(stamp)


def assert_it_would_install_again(user: OrdinaryUser, clone: Path) -> None:
    """Check that a run would make the venv again: it looks for a Python, before anything is touched."""
    done = run(user, clone, RPS_PYTHON="/nowhere/python3")
    assert done.returncode == 2
    assert "on RPS_PYTHON:\n      /nowhere/python3: does not run" in done.stderr


def test_the_link_in_venv_names_a_release(ordinary_user: OrdinaryUser, clone: Path) -> None:
    """Test the links of .venv: one without a release would survive an upgrade.

    It would then find no packages of its own.
    """
    links = [path for path in clone.glob(".venv/bin/python*") if path.readlink().is_absolute()]
    assert links
    assert all(link.readlink() == link.resolve() for link in links)


def test_other_extras_are_installed(ordinary_user: OrdinaryUser, clone: Path) -> None:
    done = run(ordinary_user, clone, RPS_EXTRAS="small")
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stderr.splitlines()] == ["updating", "installed"]
    assert list(clone.glob(".venv/lib/*/site-packages/iniconfig"))
    assert_silent(ordinary_user, clone)
