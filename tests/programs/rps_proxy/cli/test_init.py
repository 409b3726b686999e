"""The units of `rps proxy init`, read by systemd-analyze."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rps_proxy.cli.init import init

Need = Callable[[str], str]


@pytest.fixture
def rps_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bin" / "rps"
    path.parent.mkdir()
    path.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'from rps_core.cli.main import main; main()'\n"
    )
    path.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(path)])
    return path


def test_systemd_takes_the_units(tmp_path: Path, rps_command: Path, need: Need) -> None:
    _, *units = init(tmp_path / "etc")
    done = subprocess.run(
        [need("systemd-analyze"), "verify", "--man=no", *units], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
