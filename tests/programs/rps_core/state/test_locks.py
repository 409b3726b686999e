"""The launcher locks nothing: a home directory on NFS without lockd has no locks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

# What Python runs at its start; the audit events are those of fcntl's and sqlite3's functions. A personal
# service does lock, in a directory on a disk of the machine, and is a process of its own.
WATCH = """\
import fcntl, os, sys
LOCKS = {fcntl.F_SETLK, fcntl.F_SETLKW, fcntl.F_OFD_SETLK, fcntl.F_OFD_SETLKW}
def watch(event, arguments):
    if event in ("fcntl.flock", "fcntl.lockf", "sqlite3.connect") or (
        event == "fcntl.fcntl" and arguments[1] in LOCKS
    ):
        print("LOCK", event, arguments, file=sys.stderr)
sys.addaudithook(watch)
"""
LIFE = """
from pathlib import Path
from rps_core.state.record import Secrets
from rps_core.state.store import Store
from rps_core.system import paths
from tests.stands.record import RECORD
store = Store(paths.sessions_dir())
store.probe()
files = store.create(RECORD, Secrets("claim", "token"))
store.save(RECORD)
assert [record.name for record in store.records()] == [RECORD.name]
"""


def locks(tmp_path: Path, *arguments: str) -> list[str]:
    """Return the locks that Python takes while it runs these arguments."""
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{PROJECT}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in done.stderr.splitlines() if line.startswith("LOCK")]


def test_a_lock_is_noticed(tmp_path: Path) -> None:
    assert len(locks(tmp_path, "-c", "import fcntl; fcntl.flock(0, fcntl.LOCK_SH)")) == 1
    assert len(locks(tmp_path, "-c", "import fcntl; fcntl.lockf(2, fcntl.LOCK_UN)")) == 1


@pytest.mark.parametrize(
    "command",
    ["list", "start --dry-run", "config --set job.account=x", "init --yes", "completion --refresh",
     "list --all"],
)  # fmt: skip
def test_no_command_locks(tmp_path: Path, command: str) -> None:
    """Test each command with another launcher's session."""
    assert locks(tmp_path, "-c", LIFE) == []
    program = "import sys; sys.argv[0] = 'rps'; from rps_core.cli.main import main; main()"
    words = [*command.split(), *(["--cluster=generic"] if "start" in command else [])]
    assert locks(tmp_path, "-c", program, *words) == []


def test_a_record_is_removed_without_a_lock(tmp_path: Path) -> None:
    assert (
        locks(tmp_path, "-c", LIFE + "store.remove(RECORD.name)\nassert not list(store.records())")
        == []
    )
