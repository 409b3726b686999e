"""The wheel, and rps installed from it by the methods of docs/installation.md."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.stands.locked_environment import make_venv
from tests.stands.wheels import shared as shared_wheels

if TYPE_CHECKING:
    from tests.conftest import OrdinaryUser

PROJECT = Path(__file__).resolve().parents[2]
SITES = sorted(path.parent.name for path in PROJECT.glob("sites/*/pyproject.toml"))
PYTHON = "/usr/bin/python3"  # the ordinary user may not have access to the developer's

# Opens all files of a wheel as the programs do: by importlib.resources.
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
    """Return the files of a package as a wheel names them."""
    return {
        str(path.relative_to(package.parent))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@dataclass(frozen=True)
class Tools:
    """The user's tools to build and install: pip, pipx and uv."""

    user: OrdinaryUser
    directory: Path

    def run(self, *command: str | Path, **env: str) -> str:
        path = f"{self.directory}/bin:{self.user.home}/.local/bin:/usr/bin:/bin"
        variables = {"PATH": path, "UV_SYSTEM_CERTS": "1", **env}  # the machine's CAs, as pip's
        done = self.user.run([str(part) for part in command], env=variables, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def advice(self, *command: str | Path) -> str:
        """Return the advice of a command that needs what is not installed."""
        path = f"{self.directory}/bin:{self.user.home}/.local/bin:/usr/bin:/bin"
        done = self.user.run(list(map(str, command)), env={"PATH": path}, capture_output=True)
        assert done.returncode != 0
        assert "not installed here: aiohttp" in done.stderr
        return " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def tools(ordinary_user: OrdinaryUser) -> Tools:
    tools = Tools(ordinary_user, ordinary_user.home / "tools")
    uv = shutil.copy(Path(sys.executable).with_name("uv"), ordinary_user.home / "uv")
    tools.run(uv, "venv", "--quiet", "--python", PYTHON, tools.directory)
    tools.run(uv, "pip", "install", "--quiet", "--python", tools.directory, "pip", "pipx")
    Path(uv).rename(tools.directory / "bin" / "uv")
    return tools


@pytest.fixture(scope="module")
def project(tools: Tools, clone_project: Callable[[Path], Path]) -> Path:
    return clone_project(tools.user.home / "project to build")


@pytest.fixture(scope="module")
def wheel(tools: Tools, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel into a directory with all wheels that it needs, and those of a kernel.

    No index is needed to install it.
    """
    wheels = tools.user.home / "wheels"
    tools.run("pip", "wheel", "--quiet", "--wheel-dir", wheels, project)
    (wheel,) = wheels.glob("rps_launcher-*.whl")
    for one in shared_wheels(tmp_path_factory).glob("*.whl"):
        shutil.copy(one, wheels)
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
    tools.run("uv", "build", "--quiet", "--wheel", "--out-dir", into, project / "sites" / site)
    (wheel,) = into.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == files_of(project / "sites" / site / f"rps_{site}")


def test_every_bundled_site_is_registered() -> None:
    registered = manifest(PROJECT)["project"]["entry-points"]["rps"]
    assert {site: registered.get(site) for site in SITES} == {site: f"rps_{site}" for site in SITES}


def assert_notebooks_are_apart(
    tools: Tools, wheel: Path, python: Path | str, program: Path
) -> None:
    """Check that pip of rps's own notebooks works, and keeps away from the launcher's packages."""
    session = tools.user.home / "session"
    session.mkdir(exist_ok=True)
    shutil.chown(session, tools.user.uid, tools.user.gid)
    code = (
        "import sys; from pathlib import Path; from rps_core.environment import own\n"
        "print(own.prepare('local', Path(sys.argv[1]), [sys.argv[2]]).path)"
    )
    place = tools.run(python, "-c", code, session, program).strip()
    shown = "import importlib.metadata, ipykernel; print(importlib.metadata.version('click'))"
    before = tools.run(f"{place}/bin/python", "-c", shown)
    assert before == tools.run(python, "-c", shown)
    (click,) = wheel.parent.glob("click-*.whl")
    tools.run(f"{place}/bin/pip", "install", "--no-index", "--ignore-installed", click)
    where = "import click; print(click.__file__)"
    assert tools.run(f"{place}/bin/python", "-c", where).startswith(place)
    assert not tools.run(python, "-c", where).startswith(place)
    shutil.rmtree(place)


def test_pipx(tools: Tools, wheel: Path) -> None:
    index = f"--pip-args=--no-index --find-links='{wheel.parent}'"
    tools.run("pipx", "install", "--python", PYTHON, index, wheel)
    assert tools.run("rps", "--version").startswith("rps ")
    advice = tools.advice("rps", "proxy", "ca")
    assert f"Install it with: pipx install --force '{wheel}[proxy]'" in advice
    tools.run("pipx", "inject", "rps-launcher", index, "ipykernel")
    (binaries,) = tools.user.home.glob(".local/*/pipx/venvs/rps-launcher/bin")
    assert_notebooks_are_apart(tools, wheel, binaries / "python", binaries / "jupyter")
    tools.run("pipx", "uninstall", "rps-launcher")


def test_uv_tool(tools: Tools, wheel: Path) -> None:
    index = ["--offline", "--no-index", "--find-links", str(wheel.parent)]
    bytecode = "--compile-bytecode"
    tools.run("uv", "tool", "install", bytecode, *index, "--python", PYTHON, "rps-launcher")
    assert tools.run("rps", "--version").startswith("rps ")
    package = next(tools.user.home.glob(".local/share/uv/tools/rps-launcher/lib/*/*/rps_core"))
    assert list(package.glob("__pycache__/*.pyc"))
    # Not by `--with`: compiling these takes ten times as long as all else.
    tools.run("uv", "pip", "install", *index, "--python", package.parents[3], "ipykernel")
    advice = tools.advice("rps", "proxy", "ca")
    command = "uv tool install --force --compile-bytecode 'rps-launcher[proxy]'"
    assert f"Install it with: {command}" in advice
    binaries = package.parents[3] / "bin"
    assert_notebooks_are_apart(tools, wheel, binaries / "python", binaries / "jupyter")
    tools.run("uv", "tool", "uninstall", "rps-launcher")


def test_a_python_that_refuses_pip(tools: Tools, wheel: Path) -> None:
    """Test Debian's own Python, which is marked so (PEP 668), with rps below ~/.local."""
    answer = tools.run(PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))")
    if not (Path(answer.strip()) / "EXTERNALLY-MANAGED").exists():
        pytest.skip("this Python is not marked as the distribution's")
    index = ["--no-index", "--find-links", str(wheel.parent), "--quiet"]
    forced = ["--user", "--break-system-packages"]
    tools.run("pip", "--python", PYTHON, "install", *forced, *index, wheel)
    user_site = ["--prefix", f"{tools.user.home}/.local", forced[1]]  # pip takes 8 s for these
    tools.run("uv", "pip", "install", "--python", PYTHON, *user_site, *index, "ipykernel")
    program = tools.user.home / ".local" / "bin" / "rps"
    assert program.read_text().startswith(f"#!{PYTHON}\n")
    advice = tools.advice(program, "proxy", "ca")
    assert "/usr refuses pip (PEP 668). Install rps elsewhere: " in advice
    assert advice.endswith(f"uv tool install --compile-bytecode '{wheel}[proxy]'")
    assert_notebooks_are_apart(tools, wheel, PYTHON, program.with_name("jupyter"))
    tools.run(
        "pip", "--python", PYTHON, "uninstall", "--yes", *forced[1:], "rps-launcher", "--quiet"
    )


@pytest.fixture(scope="module")
def shared(tools: Tools, wheel: Path) -> Iterator[Path]:
    """Make a shared installation, as an administrator: root, if root runs the tests."""
    directory = Path(tempfile.mkdtemp(prefix="rps-shared-"))
    directory.chmod(0o755)
    pip = [str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-index"]
    make_venv(directory, "pip")
    subprocess.run(
        [*pip, "--no-compile", "--find-links", str(wheel.parent), "rps-launcher"], check=True
    )
    for path in directory.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    yield directory
    for path in directory.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(directory)


def test_a_shared_installation_that_no_user_can_write(
    tools: Tools, project: Path, shared: Path
) -> None:
    assert tools.run(shared / "bin" / "rps", "--version").startswith("rps ")
    assert "local" in tools.run(shared / "bin" / "rps", "cluster")
    if os.getuid() == 0:
        python = shared / "bin" / "python"
        advice = tools.advice(shared / "bin" / "rps", "proxy", "ca")
        assert f"This rps ({shared}) is not yours to change: ask the cluster's support" in advice
        assert advice.endswith(f"{python} -m pip install 'rps-launcher[proxy]'")
    names = [package.name for package in packages_of(project)]
    read = tools.run(shared / "bin" / "python", "-I", "-c", READ_ALL, *names).split()
    expected = [
        Path(name).name for package in packages_of(project) for name in sorted(files_of(package))
    ]
    assert sorted(read) == sorted(expected)
    if os.getuid() == 0:
        written = tools.user.run(["touch", str(shared / "rps")], capture_output=True)
        assert "Permission denied" in written.stderr
