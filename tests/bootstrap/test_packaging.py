"""The wheel, and rps installed from it in the ways that docs/installation.md names."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import OrdinaryUser

PROJECT = Path(__file__).resolve().parents[2]
SITES = sorted(path.parent.name for path in PROJECT.glob("sites/*/pyproject.toml"))
PYTHON = "/usr/bin/python3"  # the developers' own may be out of the ordinary user's reach

# Opens all that a wheel brought, as the programs do it: by importlib.resources.
READ_ALL = """
import sys
from importlib.resources import files

def read(directory):
    for entry in directory.iterdir():
        if entry.name == "__pycache__":
            continue
        if entry.is_dir():
            yield from read(entry)
        else:
            entry.read_bytes()
            yield entry.name

for package in sys.argv[1:]:
    print(*read(files(package)), sep="\\n")
"""


def packages_of(directory: Path) -> list[Path]:
    build = manifest(directory)["tool"]["hatch"]["build"]["targets"]["wheel"]
    return [directory / name for name in build["packages"]]


def manifest(directory: Path) -> dict[str, Any]:
    return tomllib.loads((directory / "pyproject.toml").read_text())


def files_of(package: Path) -> set[str]:
    """As a wheel names them."""
    return {
        str(path.relative_to(package.parent))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@dataclass(frozen=True)
class Tools:
    """What a user has who builds and installs things: pip, pipx and uv."""

    user: OrdinaryUser
    directory: Path

    def run(self, *command: str | Path, **env: str) -> str:
        path = f"{self.directory}/bin:{self.user.home}/.local/bin:/usr/bin:/bin"
        done = self.user.run(
            [str(part) for part in command], env={"PATH": path, **env}, capture_output=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def tools(ordinary_user: OrdinaryUser) -> Tools:
    tools = Tools(ordinary_user, ordinary_user.home / "tools")
    tools.run(PYTHON, "-m", "venv", tools.directory)
    tools.run("pip", "install", "--quiet", "pipx", "uv")
    return tools


@pytest.fixture(scope="module")
def project(tools: Tools, clone_project: Callable[[Path], Path]) -> Path:
    return clone_project(tools.user.home / "project to build")


@pytest.fixture(scope="module")
def wheel(tools: Tools, project: Path) -> Path:
    """It lies among the wheels that it needs, so that no index has to be asked."""
    wheels = tools.user.home / "wheels"
    tools.run("pip", "wheel", "--quiet", "--wheel-dir", wheels, project)
    (wheel,) = wheels.glob("rps_launcher-*.whl")
    return wheel


def test_the_wheel_holds_what_the_packages_hold(project: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    expected = set().union(*(files_of(package) for package in packages_of(project)))
    pages = {name for name in held if name.endswith(".data/data/share/man/man1/rps.1")}
    assert len(pages) == 1
    assert held - pages == expected
    for kind in (".yaml", ".sh", ".html", "py.typed"):
        assert any(name.endswith(kind) for name in held), f"no {kind} among the packages' files"
    assert not {name: oct(mode) for name, mode in modes.items() if mode & 0o022}


@pytest.mark.parametrize("site", SITES)
def test_a_site_is_a_project_of_its_own(project: Path, tools: Tools, site: str) -> None:
    alone, together = manifest(project / "sites" / site), manifest(project)
    entry_points = alone["project"]["entry-points"]["rps"]
    assert entry_points == {site: f"rps_{site}"}
    assert entry_points.items() <= together["project"]["entry-points"]["rps"].items()
    assert packages_of(project / "sites" / site)[0] in packages_of(project)
    into = tools.user.home / f"wheel of {site}"
    tools.run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", into, project / "sites" / site)
    (wheel,) = into.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == files_of(project / "sites" / site / f"rps_{site}")


def test_every_bundled_site_is_registered() -> None:
    registered = manifest(PROJECT)["project"]["entry-points"]["rps"]
    assert {site: registered.get(site) for site in SITES} == {site: f"rps_{site}" for site in SITES}


def test_pipx(tools: Tools, wheel: Path) -> None:
    index = f"--pip-args=--no-index --find-links='{wheel.parent}'"
    tools.run("pipx", "install", "--python", PYTHON, index, wheel)
    assert tools.run("rps", "--version").startswith("rps ")
    tools.run("pipx", "uninstall", "rps-launcher")


def test_uv_tool(tools: Tools, wheel: Path) -> None:
    index = ["--offline", "--no-index", "--find-links", str(wheel.parent)]
    bytecode = "--compile-bytecode"
    tools.run("uv", "tool", "install", bytecode, *index, "--python", PYTHON, "rps-launcher")
    assert tools.run("rps", "--version").startswith("rps ")
    package = next(tools.user.home.glob(".local/share/uv/tools/rps-launcher/lib/*/*/rps_core"))
    assert list(package.glob("__pycache__/*.pyc"))
    tools.run("uv", "tool", "uninstall", "rps-launcher")


@pytest.fixture(scope="module")
def shared(tools: Tools, wheel: Path) -> Iterator[Path]:
    """An installation for all, made by an administrator: root, where the tests run as root."""
    directory = Path(tempfile.mkdtemp(prefix="rps-shared-"))
    directory.chmod(0o755)
    pip = [str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-index"]
    subprocess.run([PYTHON, "-m", "venv", str(directory)], check=True)
    subprocess.run([*pip, "--find-links", str(wheel.parent), "rps-launcher"], check=True)
    for path in directory.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    yield directory
    for path in directory.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(directory)


def test_a_shared_installation_that_nobody_can_write(
    tools: Tools, project: Path, shared: Path
) -> None:
    assert tools.run(shared / "bin" / "rps", "--version").startswith("rps ")
    assert "local" in tools.run(shared / "bin" / "rps", "cluster")
    names = [package.name for package in packages_of(project)]
    read = tools.run(shared / "bin" / "python", "-I", "-c", READ_ALL, *names).split()
    expected = [
        Path(name).name for package in packages_of(project) for name in sorted(files_of(package))
    ]
    assert sorted(read) == sorted(expected)
    if os.getuid() == 0:
        written = tools.user.run(["touch", str(shared / "rps")], capture_output=True)
        assert "Permission denied" in written.stderr
