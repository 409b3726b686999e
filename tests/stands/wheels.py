"""Wheels for builds of environments: real ones, and small ones that a test makes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

# What notebooks need of an environment, and a small package.
_DOWNLOADED = ("ipykernel", "six==1.17.0")
_BACKEND = """
import os, pathlib, time, zipfile
NAME, VERSION = "slow", "1.0"
def build_wheel(directory, config_settings=None, metadata_directory=None):
    place = pathlib.Path(os.environ["RPS_TEST_PLACE"])
    with (place / "builds").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    while not (place / "go").exists():
        time.sleep(0.02)
    wheel = "slow-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, wheel), "w") as archive:
        info = "slow-1.0.dist-info"
        archive.writestr("slow.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: slow\\nVersion: 1.0\\n")
        tags = "Generator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\\n{tags}")
        archive.writestr(f"{info}/RECORD", "")
    return wheel
"""


def shared(factory: pytest.TempPathFactory) -> Path:
    """Return the downloaded wheels of this run, which all processes of pytest-xdist share."""
    base = factory.getbasetemp()
    return downloaded((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "wheels")


def downloaded(place: Path) -> Path:
    """Return a directory with ipykernel and all that it needs; the first that asks downloads it."""
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "whole").exists():
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(place)]
            subprocess.run([*command, *_DOWNLOADED], check=True)
            for file in place.iterdir():
                file.chmod(0o644)
            (place / "whole").touch()
    return place


def offline(wheels: Path) -> dict[str, str]:
    """Return the variables by which uv and pip install from these wheels alone."""
    # uv has no variable for it.
    configuration = wheels / "uv.toml"
    configuration.write_text(f'no-index = true\nfind-links = ["{wheels}"]\n')
    return {
        "PIP_FIND_LINKS": str(wheels),
        "PIP_NO_INDEX": "1",
        "PIP_NO_COMPILE": "1",
        "PIP_CONFIG_FILE": "/dev/null",
        "UV_CACHE_DIR": str(wheels / "uv-cache"),
        "UV_COMPILE_BYTECODE": "0",  # it takes longer than all else
        "UV_CONFIG_FILE": str(configuration),
        "UV_PYTHON_DOWNLOADS": "never",
    }


def slow_project(place: Path) -> Mapping[str, str]:
    """Make a project whose wheel is built once `place/go` exists; each build adds its pid to `place/builds`.

    Returns:
        The variables that its build needs.
    """
    project = place / "slow"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "slow"\nversion = "1.0"\n'
    )
    (project / "backend.py").write_text(_BACKEND + "build_editable = build_wheel\n")
    return {"RPS_TEST_PLACE": str(place)}
