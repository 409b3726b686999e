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
    """Installed without extras. The tests change it, and leave it installed."""
    directory = clone_project(ordinary_user.home / "warm clone")
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


def test_an_update_that_fails_is_not_taken_for_good(
    ordinary_user: OrdinaryUser, clone: Path
) -> None:
    project = clone / "pyproject.toml"
    good = project.read_text()
    project.write_text(good.replace('"click>=8.1"', '"click>=999"'))
    done = run(ordinary_user, clone)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "click>=999" in done.stderr
    project.write_text(good)
    assert "installing into" in run(ordinary_user, clone).stderr
    assert not list(clone.glob(".venv/lib/*/site-packages/jupyterlab")), "the choice is kept"
    assert_silent(ordinary_user, clone)


def test_a_clone_that_was_moved_or_lost_its_python(
    ordinary_user: OrdinaryUser, clone: Path
) -> None:
    moved = clone.rename(clone.with_name("moved clone"))
    try:
        assert "installing into" in run(ordinary_user, moved).stderr
        assert_silent(ordinary_user, moved)
        for python in moved.glob(".venv/bin/python*"):
            if python.readlink().is_absolute():  # the one that the others lead to
                python.unlink()
                python.symlink_to("/nowhere/python3")
        done = run(ordinary_user, moved)
        assert done.returncode == 0, done.stderr
        assert "installing into" in done.stderr
        assert_silent(ordinary_user, moved)
    finally:
        moved.rename(clone)


def test_the_link_in_venv_names_a_release(ordinary_user: OrdinaryUser, clone: Path) -> None:
    """Test the links of .venv: one without a release would survive an upgrade.

    It would then find no packages of its own.
    """
    links = [path for path in clone.glob(".venv/bin/python*") if path.readlink().is_absolute()]
    assert links
    assert all(link.readlink() == link.resolve() for link in links)


def test_other_extras_are_installed(ordinary_user: OrdinaryUser, clone: Path) -> None:
    done = run(ordinary_user, clone, RPS_EXTRAS="proxy")
    assert done.returncode == 0, done.stderr
    assert list(clone.glob(".venv/lib/*/site-packages/aiohttp"))
    assert_silent(ordinary_user, clone)
