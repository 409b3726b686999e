"""Python processes of rps among environment modules for another Python."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rps_core
from rps_core.node.own_process import module_command

PROJECT = Path(rps_core.__file__).parents[1]
SHOW = "from rps_core.node.own_process import module_command as c; print(*c('x'), sep='\\n')"


@pytest.fixture
def modules(tmp_path: Path) -> dict[str, str]:
    """Set the variables of another Python's module: its home, and its packages."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("json", "argparse", "asyncio", "aiohttp", "ssl"):
        (packages / f"{name}.py").write_text("raise SystemExit('for another Python')\n")
    return {"PYTHONHOME": "/nowhere", "PYTHONPATH": str(packages)}


def run(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_module_runs_whatever_environment_modules_set(modules: dict[str, str]) -> None:
    done = run([*module_command("rps_core.node.supervisor"), "--help"], **modules)
    assert done.stdout.startswith("usage:"), done.stderr
    assert run([*module_command("rps_proxy.engines.log_filter")], **modules).returncode == 0


def test_it_is_as_isolated_as_the_launcher(tmp_path: Path) -> None:
    done = run([sys.executable, "-I", "-c", SHOW])
    assert done.stdout.split() == [sys.executable, "-I", "-m", "x"]
    done = run([sys.executable, "-c", SHOW], PYTHONPATH=str(tmp_path))
    assert done.stdout.split() == [sys.executable, "-E", "-P", "-m", "x"]


def test_an_rps_that_is_on_the_pythonpath_is_found(tmp_path: Path) -> None:
    """Test a module that installs rps by PYTHONPATH, not in the interpreter."""
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    python = str(bare / "bin" / "python")
    path = {"PYTHONPATH": f"/nowhere:{PROJECT}"}
    command = run([python, "-c", SHOW], **path).stdout.split()
    done = run([*command[:-1], "rps_core.node.supervisor", "--help"], **path)
    assert done.stdout.startswith("usage:"), done.stderr
    with_plugins = SHOW.replace("c('x')", "c('x', with_plugins=True)")
    done = run([sys.executable, "-c", with_plugins], PYTHONPATH=str(tmp_path))
    assert done.stdout.split() == [sys.executable, "-P", "-m", "x"]
