"""Every command with an output that is full: one sentence at most, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest

from rps_core.cli.main import rps
from rps_core.state.record import Secrets
from rps_core.state.store import Store
from rps_core.system import paths
from tests.stands.record import RECORD

# What a command needs to print something; the others run without arguments.
_ARGUMENTS = {
    "start": ("--dry-run", "--cluster=generic", "--account=abc123", "--set", "proxy.domain=example.org"),
    "again": ("--help",),
    "list": ("--all",),
    "status": ("one",),
    "wait": ("one",),
    "why": ("one",),
    "logs": ("one",),
    "open": ("one",),
    "url": ("one",),
    "stop": ("one", "--json"),
    "forget": ("no-such",),
    "init": ("--help",),
    "doctor": ("--help",),
    "completion": ("bash",),
    "site new": ("--help",),
    "proxy init": ("--help",),
    "proxy serve": ("--help",),
}  # fmt: skip


def leaves(group: click.Group, prefix: str = "") -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from leaves(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}"


def run(command: str, *, unbuffered: bool, **streams: int) -> tuple[int, str]:
    """Run a command with these streams, the others into pipes; return code and output."""
    words = [
        *command.split(),
        *_ARGUMENTS.get(command, ("--help",) if command not in _PLAIN else ()),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "rps_core.cli.main", *words], stdin=subprocess.DEVNULL, timeout=60, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1" if unbuffered else ""},
        stdout=streams.get("stdout", subprocess.PIPE), stderr=streams.get("stderr", subprocess.PIPE),
    )  # fmt: skip
    return done.returncode, (done.stdout or "") + (done.stderr or "")


_PLAIN = ("cluster", "config", "man")


@pytest.fixture(autouse=True)
def session() -> None:
    store = Store(paths.sessions_dir())
    store.probe()
    # Long ago: its age in `rps list` stays the same during a test.
    ended = replace(RECORD, created=1e9, ended=1e9 + 60, outcome="ended", reason="over")
    files = store.create(ended, Secrets("c" * 43, "token"))
    files.log_file.write_text("a line\n")


@pytest.mark.parametrize("command", list(leaves(rps)))
def test_a_full_output_is_reported_in_one_sentence(command: str) -> None:
    with Path("/dev/full").open("w") as full:
        code, text = run(command, unbuffered=False, stdout=full.fileno())
        assert "Traceback" not in text
        assert "Exception ignored" not in text
        _, printed = run(command, unbuffered=False, stderr=subprocess.DEVNULL)
        if printed:
            assert (code, text.count("Cannot write the output: No space left on device")) == (2, 1)
        both, _ = run(command, unbuffered=False, stdout=full.fileno(), stderr=full.fileno())
        assert both == code


@pytest.mark.parametrize("command", ["list", "status", "forget", "man", "start"])
@pytest.mark.parametrize("unbuffered", [False, True])
def test_what_cannot_be_written_to_stderr_changes_nothing(command: str, unbuffered: bool) -> None:
    expected, text = run(command, unbuffered=unbuffered, stderr=subprocess.DEVNULL)
    with Path("/dev/full").open("w") as full:
        assert run(command, unbuffered=unbuffered, stderr=full.fileno()) == (expected, text)
        assert run(command, unbuffered=unbuffered, stdout=full.fileno())[1].count("Traceback") == 0
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as closed:
        assert run(command, unbuffered=unbuffered, stderr=closed.fileno()) == (expected, text)
