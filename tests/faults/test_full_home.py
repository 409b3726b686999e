"""A home directory on a full disk: each command says so in one message, and leaves nothing half-written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rps_core.state.record import Secrets
from rps_core.state.store import Store
from tests.faults.test_full_disk import full
from tests.stands.namespaces import own_mounts, small_disk
from tests.stands.record import RECORD

_GENERIC = (
    "--cluster=generic",
    "--account=abc123",
    "--set",
    "proxy.domain=example.org",
    "--set",
    "allow_root=true",
)
# Each command with its exit code.
_COMMANDS = {
    ("start", *_GENERIC): 2,
    ("start", "--dry-run", *_GENERIC): 0,
    ("again", "ended", "--dry-run", "--cluster=comet", "--set", "allow_root=true"): 0,
    ("list", "--cluster=generic"): 0,
    ("list", "--all", "--json", "--cluster=generic"): 0,
    ("status", "ended"): 0,
    ("why", "ended"): 0,
    ("logs", "ended"): 0,
    ("url", "living"): 0,
    ("stop", "ended"): 0,
    ("init", "--yes", "--cluster=generic"): 2,
    ("site", "new", "mine"): 2,
    ("site", "new", "mine", "--yaml"): 2,
    ("cluster", "--cluster=generic"): 0,
    ("config", "--cluster=generic"): 0,
    ("completion", "bash"): 0,
    ("proxy", "init", "."): 4,
    ("proxy", "backup", "copy"): 7,
    ("proxy", "status"): 7,
    ("proxy", "engine", "render", "--set", "engine=haproxy", "--output", "."): 2,
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    with own_mounts():
        home = tmp_path / "disk"
        home.mkdir(mode=0o700)
        small_disk(home, "1m")
        store = Store(home / ".local" / "state" / "rps" / "sessions")
        store.directory.mkdir(parents=True)
        for name in ("ended-two-three", "living-two-three"):
            over: dict[str, Any] = {
                "ended": RECORD.created + 1,
                "outcome": "ended",
                "reason": "over",
            }
            record = replace(
                RECORD, name=name, url=f"https://{name}.example.org/",
                settings={"job.partition": "shared", "job.account": "abc123"},
                **over if name.startswith("ended") else {},
            )  # fmt: skip
            store.create(record, Secrets("c" * 43, "token")).log_file.write_text("a line\n")
        yield home


def files(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


def test_every_command_on_a_full_disk(home: Path) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "RPS_"))
    }
    environment |= {"HOME": str(home), "RPS_LOCAL_SERVICE_DIR": str(home / "service")}
    found = {}
    with full(home):
        before = files(home)
        for words in _COMMANDS:
            done = subprocess.run(
                [sys.executable, Path(sys.executable).with_name("rps"), *words],
                env=environment, cwd=home, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=60,
            )  # fmt: skip
            assert "Traceback" not in done.stderr, (words, done.stderr)
            if done.returncode in (2, 4):
                assert "No space left on device" in done.stderr, (words, done.stderr)
                # The file, or its directory, is named.
                assert re.search(rf"{home}|haproxy\.cfg|proxy\.yaml", done.stderr), (
                    words,
                    done.stderr,
                )
            found[words] = done.returncode
            # Empty files that take no space, such as a lock, are no leftovers of a write.
            left = {name for name in files(home) - before if (home / name).stat().st_size}
            assert left == set(), words
            unfinished = [path for path in home.rglob(".*.*.*") if path.is_file()]
            assert unfinished == [], words
    assert found == _COMMANDS
