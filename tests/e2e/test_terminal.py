"""`rps start` on a terminal: the live line, and Ctrl-C."""

from __future__ import annotations

import os
import pty
import re
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class Terminal:
    """A process on a terminal of its own."""

    def __init__(self, installed: Any, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        self.process = installed.user.popen(
            [str(installed.directory / "rps"), *arguments],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=_take_the_terminal, env={"TERM": "xterm"},
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def until(self, pattern: str, seconds: float = 60) -> str:
        """Read until the text matches; answers all that was seen."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.seen):
            assert time.monotonic() < deadline, self.seen
            if not self._read():
                assert re.search(pattern, self.seen), self.seen
        return self.seen

    def end(self) -> int:
        while self._read():
            pass
        code: int = self.process.wait(60)
        return code

    def _read(self) -> bool:
        if not select.select([self.master], [], [], 0.5)[0]:
            return True
        try:
            data = os.read(self.master, 4096)
        except OSError:  # all have closed the other end
            return False
        self.seen += data.decode("utf-8", "replace")
        return bool(data)


def _take_the_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def on_terminal(installed: Any) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def run(*arguments: str) -> Terminal:
        opened.append(Terminal(installed, *arguments))
        return opened[-1]

    yield run
    for terminal in opened:
        if terminal.process.poll() is None:
            terminal.process.kill()
            terminal.process.wait()
        os.close(terminal.master)
    installed.rps("stop", "--all")


def test_the_live_line_follows_the_session_until_it_is_ready(
    on_terminal: Callable[..., Terminal],
) -> None:
    terminal = on_terminal("start")
    seen = terminal.until(r"\?token=[0-9a-f]{32}\r\n")
    seen = terminal.until(r"starting")
    seen = terminal.until(r": ready")
    assert terminal.end() == 0
    assert "\r\033[K" in seen
    assert seen.index("token=") < seen.index(": ready")


def test_ctrl_c_leaves_the_job_running_and_says_how_to_come_back(
    installed: Any, on_terminal: Callable[..., Terminal]
) -> None:
    terminal = on_terminal("start")
    terminal.until(r"the notebook is starting")
    os.write(terminal.master, b"\x03")
    assert terminal.end() == 130
    found = re.search(r"https://([a-z-]+)\.", terminal.seen)
    assert found
    assert f"rps stop {found[1]}" in terminal.seen
    assert "Traceback" not in terminal.seen
    state = installed.rps("status", found[1]).stdout
    assert re.search(r"state: +(starting|ready)", state)


def test_a_terminal_that_is_closed_ends_nothing(
    installed: Any, on_terminal: Callable[..., Terminal], wait_for: Callable[..., None]
) -> None:
    terminal = on_terminal("start")
    terminal.until(r"the notebook is starting")
    os.close(terminal.master)  # the kernel hangs up on the session's processes
    terminal.process.wait(60)
    terminal.master = os.open("/dev/null", os.O_RDONLY)
    wait_for(lambda: "ready" in installed.rps("status").stdout)


def test_root_is_warned_and_served(tmp_path: Path, wait_for: Callable[..., None]) -> None:
    """Once as root, with the installation that runs these tests."""
    import json
    import subprocess
    import sys

    if os.getuid() != 0:
        pytest.skip("only root can be root")
    del wait_for
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "RPS_LOCAL_SERVICE_DIR": str(tmp_path / "service"),
        "RPS_CLUSTER": "local",
    }
    command = [sys.executable, "-m", "rps_core.cli"]

    def rps(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments], env=environment, capture_output=True, text=True, timeout=120
        )

    try:
        done = rps("start", "--wait", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["state"] == "ready"
        assert "running as root" in done.stderr
    finally:
        stopped = rps("stop", "--all")
        service = json.loads((tmp_path / "service" / "service.json").read_text())
        os.kill(service["pid"], 15)
    assert stopped.returncode == 0, stopped.stderr
    refused = rps("start", "--set", "allow_root=false")
    assert refused.returncode == 2
    assert "as root" in refused.stderr
