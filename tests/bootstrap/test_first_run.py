"""The first run of `./rps`: its choice of a Python, its result, its errors."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.stands.waiting import until

if TYPE_CHECKING:
    from tests.conftest import OrdinaryUser

SYSTEM = "/usr/bin:/bin"
BARE = {"RPS_EXTRAS": ""}  # the launcher alone: installed in seconds


@pytest.fixture
def clone(
    ordinary_user: OrdinaryUser,
    clone_project: Callable[[Path], Path],
    request: pytest.FixtureRequest,
) -> Path:
    """Return a clone of a test's own, at a path that needs quoting."""
    name = re.sub(r"\W+", " ", request.node.name).strip()
    return clone_project(ordinary_user.home / f"clone [of] {name}")


def run(
    user: OrdinaryUser, clone: Path, *arguments: str, **env: str
) -> subprocess.CompletedProcess[str]:
    command = [str(clone / "rps"), *(arguments or ["--version"])]
    return user.run(command, env=env, capture_output=True, timeout=600)


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def stand_in(user: OrdinaryUser, path: Path, version: str) -> None:
    """Make a Python of that version that cannot make a venv.

    Its answers come from the real Python, run with another version in `sys.version_info`.
    """
    release = tuple(int(part) for part in version.split("."))
    number = release[0] << 24 | release[1] << 16 | release[2] << 8 | 0xF0
    if not path.parent.exists():
        user.make(path.parent)
    path.write_text(
        f"""#!/bin/sh
case $2 in -c)
  exec /usr/bin/python3 -I -c "import sys
sys.version_info = (*{release}, 'final', 0); sys.hexversion = {number}; sys.executable = '$0'
$3" ;;
esac
echo "stand-in for {version} was asked to: $*"
exit 1
"""
    )
    path.chmod(0o755)


def test_the_newest_python_is_taken_wherever_it_is_on_the_path(
    ordinary_user: OrdinaryUser, clone: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    places = ordinary_user.make(ordinary_user.home / "several pythons")
    stand_in(ordinary_user, places / "a" / "python3", "3.6.8")
    stand_in(ordinary_user, places / "a" / "python3.11", "3.11.9")
    stand_in(ordinary_user, places / "b" / "python3", "3.13.2")
    stand_in(ordinary_user, places / "b" / "python3.12", "3.12.12")
    shim = places / "a" / "python3.14"
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.14: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    (places / "a" / "python3.15").mkdir()
    path = f"relative:{places}/nowhere::{places}/a:{places}/b:{SYSTEM}"
    done = run(ordinary_user, clone, PATH=path)
    assert "with Python 3.13.2" in done.stderr
    assert f"this failed: {places}/b/python3 -m venv" in done.stderr
    assert "stand-in for 3.13.2 was asked to" in done.stderr, "the log's tail is shown"
    assert done.returncode == 2
    assert ".venv" not in names(clone)


def test_the_newest_of_the_real_pythons_of_this_machine_is_taken(
    clone: Path, tmp_path: Path
) -> None:
    """Run as the current user: the ordinary user may not reach that user's Pythons."""
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    places = [*home.glob(".pyenv/versions/*/bin"), *(Path(p) for p in SYSTEM.split(":"))]
    releases = []
    for place in places:
        for python in place.glob("python3.[0-9]*[0-9]"):
            modules = "import sys, ssl, venv, ensurepip; print(*sys.version_info[:3])"
            answer = subprocess.run([python, "-I", "-c", modules], capture_output=True, check=False)
            if answer.returncode == 0:
                releases.append(tuple(int(part) for part in answer.stdout.split()))
    newest = max(releases)
    # The installation stops at its venv: a file is there.
    file = tmp_path / "file"
    file.touch()
    path = ":".join(map(str, places))
    environment = {"HOME": str(tmp_path), "PATH": path, "RPS_VENV": str(file)}
    done = subprocess.run([clone / "rps"], env=environment, capture_output=True, text=True)
    assert f"with Python {'.'.join(map(str, newest))}," in done.stderr
    assert done.returncode == 2
    assert "-m venv --clear" in done.stderr


def test_only_old_pythons(ordinary_user: OrdinaryUser, clone: Path) -> None:
    places = ordinary_user.make(ordinary_user.home / "old pythons")
    stand_in(ordinary_user, places / "a" / "python3", "3.6.8")
    stand_in(ordinary_user, places / "b" / "python3", "3.10.12")
    (places / "c").symlink_to(places / "b")
    before = names(clone)
    done = run(ordinary_user, clone, PATH=f"{places}/a:{places}/b:{places}/c:{tools(places)}")
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"{places}/a/python3: 3.6.8, too old" in done.stderr
    assert done.stderr.count(f"{places}/b/python3: 3.10.12, too old") == 1
    for way in ("module load", "conda create", "uv python install"):
        assert way in done.stderr
    assert names(clone) == before


def tools(directory: Path) -> Path:
    """Return a directory with what the script itself calls, and no Python."""
    place = directory / "tools"
    place.mkdir()
    for tool in ("cmp", "cp", "mv", "rm", "sed", "tail"):
        (place / tool).symlink_to(shutil.which(tool, path=SYSTEM) or tool)
    return place


def test_no_python_at_all(ordinary_user: OrdinaryUser, clone: Path) -> None:
    place = tools(ordinary_user.make(ordinary_user.home / "no python"))
    before = names(clone)
    done = run(ordinary_user, clone, PATH=str(place))
    assert done.returncode == 2
    assert "no usable Python 3.11 or newer on the PATH: nothing" in done.stderr
    assert names(clone) == before


def test_a_python_without_ensurepip(ordinary_user: OrdinaryUser, clone: Path) -> None:
    """Test Debian's real Python, through links, without the files of python3-venv."""
    real = Path("/usr/bin/python3").resolve()
    place = ordinary_user.make(ordinary_user.home / "no ensurepip")
    library = place / "lib" / real.name
    (place / "bin").mkdir()
    library.mkdir(parents=True)
    shutil.copy2(real, place / "bin" / real.name)
    for part in Path("/usr/lib", real.name).iterdir():
        if part.name != "ensurepip":
            (library / part.name).symlink_to(part)
    before = names(clone)
    done = run(ordinary_user, clone, PATH=f"{place}/bin:{tools(place)}")
    assert done.returncode == 2
    assert "without ensurepip" in done.stderr
    assert f"apt install {real.name}-venv" in done.stderr
    assert "uv python install" in done.stderr
    assert names(clone) == before


def test_the_users_own_choice_of_python(ordinary_user: OrdinaryUser, clone: Path) -> None:
    place = ordinary_user.make(ordinary_user.home / "chosen")
    stand_in(ordinary_user, place / "bin" / "python", "3.12.1")
    done = run(ordinary_user, clone, RPS_PYTHON=str(place / "bin" / "python"))
    assert f"this failed: {place}/bin/python -m venv" in done.stderr
    wrong = run(ordinary_user, clone, RPS_PYTHON="/nowhere/python3")
    assert wrong.returncode == 2
    assert "on RPS_PYTHON:\n      /nowhere/python3: does not run" in wrong.stderr


def written_since(file: Path, began: float) -> bool:
    return file.exists() and file.stat().st_mtime > began


ODD = {
    "PYTHONHOME": "/nowhere",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PIP_USER": "1",
    "PIP_NO_COMPILE": "1",
    "home": "/nowhere",
    "extras": "nonsense",
    "ENV": "/nowhere",
    "CDPATH": "/usr:/",
}


def test_interrupted_and_then_run_twice_at_once(ordinary_user: OrdinaryUser, clone: Path) -> None:
    """Test interruptions of pip and of venv, and then two starts, one of which waits.

    They have variables of modules and profiles, of which none reaches rps or slows it down, and the command
    `rps` is the clone's already.
    """
    modules = ordinary_user.make(ordinary_user.home / "modules of another python")
    for name in ("click", "pip", "hatchling", "venv"):
        (modules / f"{name}.py").write_text("raise SystemExit('the wrong module was imported')\n")
    commands = ordinary_user.make(ordinary_user.home / "bin of a clone")
    (commands / "rps").symlink_to(clone / "rps")
    environment = {
        **BARE, **ODD, "PYTHONPATH": str(modules), "PATH": f"{commands}:{SYSTEM}"
    }  # fmt: skip

    def start() -> subprocess.Popen[str]:
        return ordinary_user.popen(
            [str(clone / "rps"), "--version"], env=environment, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    for number, reached in (
        (signal.SIGINT, "rps-stamp.toml"),  # pip runs next
        (signal.SIGKILL, "rps-stamp.toml"),
        (signal.SIGTERM, "pyvenv.cfg"),
    ):
        began = time.time()
        interrupted = start()
        until(partial(written_since, clone / ".venv" / reached, began), reached)
        os.killpg(interrupted.pid, number)
        stdout, stderr = interrupted.communicate(timeout=60)
        assert interrupted.returncode != 0
        assert stdout == ""
        assert "installing into" in stderr
        if number != signal.SIGKILL:
            until(lambda: not (clone / ".venv").exists(), "its removal")
    first = start()
    until((clone / ".venv").exists, "the environment")
    second = start()
    answers = [process.communicate(timeout=600) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    assert answers[0][0].startswith("rps "), "and nothing else is on stdout"
    said = [line.split()[1] for line in answers[0][1].splitlines()]
    assert said == ["installing", "installed"], "and nothing of the link"
    assert answers[1][1] == "rps: another start is installing rps; waiting for it\n"
    for directory in (
        clone / "rps_core" / "schedulers",
        *clone.glob(".venv/lib/python3*/site-packages/click"),
    ):
        assert list(directory.glob("__pycache__/*.pyc")), f"{directory} has no bytecode"


def test_a_clone_that_cannot_be_written(ordinary_user: OrdinaryUser, clone: Path) -> None:
    if os.getuid() == 0:
        for path in (clone, *clone.rglob("*")):
            os.chown(path, 0, 0)
    else:
        clone.chmod(0o555)
    before = names(clone)
    done = run(ordinary_user, clone, **BARE)
    assert done.returncode == 2
    assert f"{clone} is not writable" in done.stderr
    assert "docs/installation.md" in done.stderr
    assert names(clone) == before
    clone.chmod(0o755)
