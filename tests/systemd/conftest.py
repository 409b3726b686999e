"""A machine that systemd runs, with the service on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.systemd.machine import Machine, missing
from tests.systemd.proxy import PROJECT, Proxy

PYTHON = "/usr/bin/python3"  # what the machine has as well


@pytest.fixture(scope="module")
def _possible(need: Callable[[str], str]) -> None:
    """Said before anything is installed for it."""
    reason = missing()
    if reason is not None:
        reason = f"no machine: {reason}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    for program in ("apache2", "curl", "haproxy", "ip", "munged", "nsenter", "slurmctld"):
        need(program)


@pytest.fixture(scope="module")
def wheels(_possible: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of the working tree, among those that the service needs."""
    directory = tmp_path_factory.mktemp("wheels")
    tools = directory / "tools"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", tools], check=True)
    wheels = directory / "wheels"
    pip = [sys.executable, "-m", "pip", "--python", str(tools / "bin/python")]
    done = subprocess.run(
        [*pip, "wheel", "--quiet", "--wheel-dir", wheels, f"{PROJECT}[proxy]"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return wheels


@pytest.fixture(scope="module")
def proxy(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Yield the host of the service, installed and started as the operator's guide says."""
    directory = tmp_path_factory.mktemp("machine")
    proxy = Proxy(Machine(directory))
    try:
        proxy.boot()
        proxy.install(wheels)
        yield proxy
    finally:
        proxy.pull_the_plug()
        shutil.rmtree(directory)  # the host's passwords are among it
