"""The agent where it ends at once, without the service and Jupyter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rps_core.node import archive
from rps_core.node.agent.files import write_secret
from tests.stands.agent import DOMAIN, NAME


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    directory = tmp_path / "session"
    directory.mkdir(mode=0o700)
    service = {"host": "localhost", "port": 9, "connect": "127.0.0.1", "ca_file": None}
    launch = {"version": 1, "name": NAME, "host": f"{NAME}.{DOMAIN}", "service": service}
    launch |= {"directory": "/", "jupyter": "jupyter", "port_range": None, "start_timeout": 5}
    (directory / "launch.json").write_text(json.dumps(launch))
    write_secret(str(directory / "claim.json"), b'{"claim": "canary", "token": "canary"}')
    (directory / archive.NAME).write_bytes(archive.build())
    return directory


def run_bare(session: Path, python: str = sys.executable) -> tuple[int, dict[str, Any], str]:
    """Exit status, the event `ended`, and all that was written."""
    done = subprocess.run(
        [python, "-I", str(session / archive.NAME), str(session), "--app", "lab"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    lines = (session / "events.jsonl").read_text()
    ended = json.loads(lines.splitlines()[-1])
    assert ended["event"] == "ended"
    return done.returncode, ended, lines + done.stdout + done.stderr


def test_a_claim_that_is_a_link_ends_the_session(bare: Path) -> None:
    (bare / "claim.json").rename(bare / "elsewhere")
    (bare / "claim.json").symlink_to("elsewhere")
    code, ended, _ = run_bare(bare)
    assert (code, ended["cause"]) == (1, "start-failed")
    assert "claim.json is a symbolic link" in ended["reason"]


def test_a_claim_that_the_group_can_read_ends_the_session(bare: Path) -> None:
    (bare / "claim.json").chmod(0o640)
    code, ended, _ = run_bare(bare)
    assert (code, ended["cause"]) == (1, "start-failed")
    assert "others" in ended["reason"]


@pytest.mark.parametrize(
    "damaged", ['{"claim": "canary', '{"claim": "canary"}', '{"claim": "a\\nb", "token": "canary"}']
)
def test_a_damaged_claim_ends_the_session(bare: Path, damaged: str) -> None:
    (bare / "claim.json").write_text(damaged)
    code, ended, written = run_bare(bare)
    assert (code, ended["cause"]) == (1, "start-failed")
    assert "damaged" in ended["reason"]
    assert "canary" not in written


def test_a_session_without_files_ends(bare: Path) -> None:
    (bare / "launch.json").unlink()
    code, ended, _ = run_bare(bare)
    assert code == 1
    assert "launch.json" in ended["reason"]
