"""The import contracts of pyproject.toml fail for a forbidden import."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PACKAGES = ("rps_core", "rps_proxy", "conf", "sites")
ROOTS = ("", "conf", "sites/comet", "sites/stratus", "sites/tscc")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what the contracts are about, to plant imports in."""
    place = tmp_path_factory.mktemp("floors")
    for name in PACKAGES:
        shutil.copytree(
            PROJECT / name, place / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
    shutil.copy(PROJECT / "pyproject.toml", place)
    return place


def contracts(copy: Path) -> tuple[int, str]:
    """Return the exit status and the output of lint-imports."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    path = os.pathsep.join(str(copy / root) for root in ROOTS)
    done = subprocess.run(
        command, cwd=copy, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("module", "planted", "broken"),
    [
        (
            "rps_core/state/record.py",
            "from rps_core.display import table",
            "rps_core.state is not allowed to import rps_core.display",
        ),
        (
            "rps_core/units.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from rps_core.cluster import find",
            "rps_core.units is not allowed to import rps_core.cluster",
        ),
        (
            "rps_core/schedulers/slurm/reasons.py",
            "def later() -> None:\n    from rps_core.state import store",
            "rps_core.schedulers is not allowed to import rps_core.state",
        ),
        (
            "rps_core/launch/plan.py",
            "import rps_core.schedulers.slurm",
            "Illegal imports of protected package rps_core.schedulers",
        ),
        (
            "rps_core/node/agent/words.py",
            "import click",
            "rps_core.node.agent is not allowed to import click",
        ),
        (
            "rps_proxy/control/leases.py",
            "from rps_core.sessions import status",
            "rps_proxy is not allowed to import rps_core.sessions",
        ),
        (
            "rps_proxy/engines/haproxy/engine.py",
            "from rps_proxy.engines.apache import engine",
            "rps_proxy.engines.haproxy is not allowed to import rps_proxy.engines.apache",
        ),
    ],
)
def test_a_planted_import_fails(copy: Path, module: str, planted: str, broken: str) -> None:
    source = copy / module
    before = source.read_text()
    source.write_text(f"{before}\n{planted}\n")
    try:
        status, printed = contracts(copy)
    finally:
        source.write_text(before)
    assert (status, broken in printed) == (1, True), printed


def test_without_one_they_hold(copy: Path) -> None:
    assert contracts(copy)[0] == 0
