"""The guard of tests/unit.

Each way to start a program, and a connection, fails the test that has it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import PROJECT

PLANTED = """
import asyncio, contextlib, multiprocessing, os, pty, socket, subprocess
import pytest, sh

STARTS = {
    "subprocess": lambda: subprocess.run(["true"]),
    "asyncio": lambda: asyncio.run(asyncio.create_subprocess_exec("true")),
    "sh": lambda: sh.true(),
    "fork": lambda: os._exit(0) if os.fork() == 0 else None,
    "forkpty": lambda: os._exit(0) if pty.fork()[0] == 0 else None,
    "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "spawnv": lambda: os.spawnv(os.P_WAIT, "/bin/true", ["true"]),
    "system": lambda: os.system("true"),
    "exec": lambda: os.execv("/bin/false", ["false"]),
    "multiprocessing": lambda: multiprocessing.get_context("fork").Process(target=print).start(),
    "connection": lambda: socket.create_connection(("127.0.0.1", 9)),
}

@pytest.mark.parametrize("way", STARTS)
def test_start(way):
    STARTS[way]()

@pytest.mark.parametrize("way", STARTS)
def test_caught(way):
    with contextlib.suppress(BaseException):
        STARTS[way]()

@pytest.fixture
def starts():
    subprocess.run(["true"])

def test_fixture(starts):
    pass

@pytest.fixture
def ends():
    yield
    subprocess.run(["true"])

def test_end(ends):
    pass

def test_nothing():
    ours, theirs = socket.socketpair()
    ours.close(), theirs.close()
"""


def test_each_way_to_start_a_program_fails_the_test(tmp_path: Path) -> None:
    shutil.copy(PROJECT / "tests" / "unit" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_planted.py").write_text(PLANTED)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "--tb=no", "-q"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    passed = [line for line in done.stdout.splitlines() if line.startswith("PASSED")]
    # The test whose fixture starts a program at its end passes; its teardown is an error.
    assert passed == ["PASSED test_planted.py::test_end", "PASSED test_planted.py::test_nothing"]
    assert "22 failed, 2 passed, 2 errors" in done.stdout, done.stdout
