"""Tab in a real bash, zsh and fish, on a terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rps_core.cli import completion
from rps_core.system import paths
from tests.e2e.test_terminal import _take_the_terminal

# How each shell is started without a user's startup files, with the completion.
STARTED = {
    "bash": (["--norc", "--noprofile", "-i"], 'eval "$(rps completion bash)"'),
    "zsh": (["-f", "-i"], 'autoload -U compinit && compinit -u -D && eval "$(rps completion zsh)"'),
    "fish": (["--no-config", "-i"], "rps completion fish | source"),
}
# Completion is the real one; a command only notes what it was given.
WRAPPER = """#!/bin/sh
case ${_RPS_COMPLETE-}$1 in
  *_complete* | completion) exec %s "$@" ;;
  *) printf '%%s\\n' "$*" >>"$HOME/given" ;;
esac
"""


@pytest.fixture
def type_into(tmp_path: Path, need: Callable[[str], str]) -> Iterator[Callable[[str, str], str]]:
    """Type lines into a shell, and answer what its last command was given."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "rps").write_text(WRAPPER % (Path(sys.executable).parent / "rps"))
    (programs / "rps").chmod(0o755)
    home = Path(os.environ["HOME"])
    running: list[tuple[subprocess.Popen[bytes], int]] = []

    def run(shell: str, line: str) -> str:
        arguments, setup = STARTED[shell]
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [need(shell), *arguments],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True, cwd=home,
            preexec_fn=_take_the_terminal,
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "TERM": "xterm"},
        )  # fmt: skip
        os.close(slave)
        running.append((process, master))
        seen = ""
        given = home / "given"
        for typed in (f"{setup}; rps is-ready\r", f"{line}\r"):
            before = given.read_text() if given.exists() else ""
            os.write(master, typed.encode())
            deadline = time.monotonic() + 60
            while (given.read_text() if given.exists() else "") == before:
                assert time.monotonic() < deadline, seen
                if select.select([master], [], [], 0.1)[0]:
                    seen += os.read(master, 4096).decode("utf-8", "replace")
        return given.read_text().splitlines()[-1]

    yield run
    for process, master in running:
        process.kill()
        process.wait()
        os.close(master)


@pytest.fixture
def _known() -> None:
    completion.remember(None, {"partition": ["shared", "gpu"], "account": ["abc123"],
                               "profile": ["big-memory"]})  # fmt: skip
    for name in ("brave-new-world", "other-old-one"):
        (paths.sessions_dir() / name).mkdir(parents=True)
    (paths.sessions_dir() / "brave-new-world" / "claim.json").touch()


@pytest.mark.usefixtures("_known")
@pytest.mark.parametrize("shell", STARTED)
def test_tab_completes_what_there_is(type_into: Callable[[str, str], str], shell: str) -> None:
    line = "rps start b\t-p sh\t-A a\t--dir\t/us\t"
    found = type_into(shell, line).rstrip("/")  # with it or without, as the shell likes it
    assert found == "start big-memory -p shared -A abc123 --directory /usr"
    assert type_into(shell, "rps stop \t").split() == ["stop", "brave-new-world"]
