"""`rps start` on a terminal: the live line, and Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.stands.waiting import until

PROJECT = Path(__file__).resolve().parents[2]


class Terminal:
    """A process on a terminal of its own; `popen` starts it like `subprocess.Popen`."""

    def __init__(
        self, popen: Callable[..., subprocess.Popen[str]], *command: str, **env: str
    ) -> None:
        self.master, slave = pty.openpty()
        self.process = popen(
            list(command),
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=_take_the_terminal, env={**env, "TERM": "xterm", "PS1": "$ "},
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def until(self, pattern: str, seconds: float = 60) -> str:
        """Read until the text matches; return all that was read."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.seen):
            assert time.monotonic() < deadline, self.seen
            if not self._read():
                assert re.search(pattern, self.seen), self.seen
        return self.seen

    def type(self, keys: str) -> None:
        """Press these keys; what was seen before is forgotten."""
        self.seen = ""
        os.write(self.master, keys.encode())

    def press_ctrl_c_at_a_question(self) -> None:
        """Press it once the process waits for an answer.

        Between Python's last look for signals and its read, Ctrl-C is noted and the read goes on (CPython's
        `my_fgets` looks only when the read was interrupted): a person would press again.
        """
        stat = Path(f"/proc/{os.tcgetpgrp(self.master)}/stat")
        until(
            lambda: stat.read_text().rpartition(")")[2].split()[0] == "S", "the wait for an answer"
        )
        self.type("\x03")

    def end(self, seconds: float = 120) -> int:
        """Read until the process has ended; return its exit code."""
        deadline = time.monotonic() + seconds
        while self._read():  # it may wait for a key
            assert time.monotonic() < deadline, self.seen
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

    def run(*arguments: str, shell: bool = False, **env: str) -> Terminal:
        rps = str(installed.directory / "rps")
        command = ("bash", "--norc", "--noprofile", "-i") if shell else (rps, *arguments)
        opened.append(Terminal(installed.user.popen, *command, **env))
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
    seen = terminal.until(r"> [^>]*\[ready\]")
    assert terminal.end() == 0
    assert "\033[3A" in seen  # drawn again in place
    assert seen.index("token=") < seen.index("[ready]")
    url = re.findall(r"https://\S+\?token=[0-9a-f]{32}", seen)[0]
    last = terminal.seen.rpartition("✓")[2]
    # It may be broken between words.
    assert re.search(r" is ready on \S+ until .*\d\d:\d\d \(.+ left\) ", " ".join(last.split()))
    assert last.endswith(f"\033]8;;{url}\033\\{url}\033]8;;\033\\\r\n")


def test_the_browsers_trust_is_asked_for_once(
    installed: Any, on_terminal: Callable[..., Terminal], need: Callable[[str], str]
) -> None:
    """Test each answer; after Ctrl-C the session continues, and the next start asks again."""
    need("certutil")
    home = installed.user.make(Path(installed.user.home) / "a desktop's home")
    installed.user.make(home / "snap")
    installed.user.make(home / "snap" / "chromium")
    installed.user.make(home / "snap" / "chromium" / "current")
    script = home / "no-notebook.sh"  # the question comes before the job has started anything
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    state = {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "RPS_NOTEBOOK_TEMPLATE": str(script),
    }
    desktop = {**state, "DISPLAY": ":0"}
    question = r"Have them trust it\? \[Y/n\]: "

    def start(answer: str = "", **more: str) -> str:
        terminal = on_terminal("start", "--no-wait", **desktop, **more)
        if answer:
            seen = " ".join(terminal.until(question).split())  # lines break between words
            assert "for names below rps.localhost only" in seen
            assert "Chromium (snap)" in seen
            if answer == "\x03":
                terminal.press_ctrl_c_at_a_question()
            else:
                terminal.type(answer)
        assert terminal.end() == (130 if answer == "\x03" else 0)
        return " ".join(terminal.seen.split())

    try:
        assert "Have them" not in start(SSH_CONNECTION="192.0.2.1 1 192.0.2.2 22")
        assert " continues. `rps status " in start("\x03")
        assert "Later: `rps proxy ca --install`." in start("n\r")
        assert "Have them" not in start()
        (home / "state" / "rps" / "browser-trust.json").unlink()
        seen = start("\r")
        assert "SHA-256 fingerprint: " in seen
        assert "Chromium (snap): trusts the CA now" in seen
        seen = start()
        assert "Have them" not in seen
        assert "CA certificate for your browser" not in seen
        installed.rps("proxy", "ca", "--remove", env=state)
        seen = start()
        assert "Have them" not in seen
        assert "CA certificate for your browser" in seen
    finally:
        installed.rps("stop", "--all", env=state)


def test_a_session_is_watched_past_ready_until_it_is_over(
    installed: Any, on_terminal: Callable[..., Terminal]
) -> None:
    """Test `wait` (it prints the URL) and `status --watch`.

    Ctrl-C does not stop a session.

    `rps stop` elsewhere ends the watch.
    """
    # Remove sessions of earlier tests: a list longer than the screen is cut off.
    started = installed.rps(
        "start", "--no-wait", "--json", "--name", "fit", "--set", "keep_ended=0"
    )
    name = json.loads(started.stdout)["name"]
    assert json.loads(started.stdout)["label"] == "fit"
    again = installed.rps("start", "--no-wait", "--name", "fit", check=False)
    assert (again.returncode, f"{name} (fit) has the label `fit` already" in again.stderr) == (
        2,
        True,
    )
    waited = installed.rps("wait", "fit")
    assert re.fullmatch(rf"https://{name}\..*\?token=[0-9a-f]+\n", waited.stdout)
    assert f"{name}: ready\n" in waited.stderr
    listing = on_terminal("list")  # the record at once, then the state that it has now
    assert listing.end() == 0
    assert re.search(
        rf"{name} +fit +\.\.\..*\033\[\d+A.*{name} +fit +.*ready", listing.seen, re.DOTALL
    )
    watching = on_terminal("status", "--watch")
    watching.until(r"\[ready\]")
    os.write(watching.master, b"\x03")
    assert watching.end() == 130
    assert f"\r\n\033[1;31mrps:\033[0m {name} continues. `rps status" in watching.seen
    watching = on_terminal("status", "--watch")
    watching.until(r"left")
    refused = installed.rps("forget", "fit", check=False)
    assert (refused.returncode, "it has not ended" in refused.stderr) == (2, True)
    installed.rps("stop", "fit")
    watching.until(r"ended \(stopped\): stopped with rps stop")
    assert watching.end() == 0
    over = installed.rps("wait", name, check=False)
    assert over.returncode == 6
    assert "rps why" in over.stderr
    assert f"{name} has ended: stopped with rps stop" in over.stderr  # it had been ready
    assert installed.rps("logs").stdout == installed.rps("logs", "fit").stdout  # of the last
    assert installed.rps("forget", "fit").stderr == f"{name} (fit): forgotten\n"
    assert name not in installed.rps("list", "--all").stdout
    assert "You have no running session" in installed.rps("status", check=False).stderr
    assert "No sessions to stop" in installed.rps("stop", "--all").stderr
    never = installed.rps("wait", name, "--timeout", "0", check=False)
    assert never.returncode == 2
    assert "The duration `0` is zero" in never.stderr


_UP = r"\033\[\d+A"


def test_ctrl_z_and_the_background_leave_the_shells_own_lines_alone(
    installed: Any, on_terminal: Callable[..., Terminal]
) -> None:
    """Test that output of the shell is not overwritten after Ctrl-Z.

    In the background each change is one line, and nothing is redrawn.
    """
    name = json.loads(installed.rps("start", "--wait", "--json").stdout)["name"]
    shell = on_terminal(shell=True)
    shell.until(r"\$ ")
    shell.type(f"{installed.directory}/rps status --watch {name}\n")
    shell.until(r"\[ready\]")
    shell.type("\x1a")
    shell.until(r"(?s)Stopped.*\$ ")
    shell.type("fg\n")
    drawn = shell.until(r"submitted")
    assert not re.search(_UP, drawn.partition("submitted")[0]), drawn  # it starts again, below
    shell.type("\x1a")
    shell.until(r"(?s)Stopped.*\$ ")
    shell.type("bg\n")
    shell.until(rf"{name}: ready\r\n")
    assert "submitted" not in shell.seen
    installed.rps("stop", name)
    shell.until(rf"{name}: ended: stopped with rps stop\r\n")
    assert not re.search(_UP, shell.seen), shell.seen


_IN_THE_BACKGROUND = """\
import os, signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may have been started by nohup
from rps_core.sessions.follow import Progress
from rps_core.display.screen import Screen
from rps_core.sessions.session import SessionView
from tests.stands.record import RECORD

job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    screen = Screen(quiet=False)
    with screen.resumable():
        screen.show(Progress(SessionView(record=RECORD, state="pending", reason=None, url=None), "queued"))
        while True:  # no other look at the session
            signal.pause()
input()
os.tcsetpgrp(0, job)  # and no SIGCONT: for bash's `fg` it runs already
os.waitpid(job, 0)
"""


def test_brought_to_the_front_it_is_drawn_without_a_look_at_the_session() -> None:
    popen = partial(subprocess.Popen[str], cwd=PROJECT)
    background = Terminal(popen, sys.executable, "-c", _IN_THE_BACKGROUND, **os.environ)
    try:
        background.until(r"waiting in the queue\r\n")
        assert "[queued]" not in background.seen
        background.type("\n")
        background.until(r"\[queued\]")
    finally:
        os.close(background.master)  # the terminal hangs up, and so ends both
        background.process.wait(60)


_BROWSER = """#!{python}
import os, sys, urllib.parse
url, noted = sys.argv[1], "{noted}"
path = urllib.parse.urlsplit(url).path
with open(path) as page, open(noted, "w") as note:
    print(url, oct(os.stat(path).st_mode & 0o777), page.read(), file=note)
print("a browser's chatter")
"""


def test_the_browser_gets_the_url_and_no_other_user(installed: Any) -> None:
    name = json.loads(installed.rps("start", "--no-wait", "--json").stdout)["name"]
    url = installed.rps("url", name).stdout.strip()
    there = installed.rps("open", name)  # no display
    assert there.stdout.strip() == url
    home = installed.user.home
    noted, browser = home / "noted", home / "browser"
    browser.write_text(_BROWSER.format(python="/usr/bin/python3", noted=noted))
    browser.chmod(0o755)
    opened = installed.rps("open", name, env={"DISPLAY": ":99", "BROWSER": f"{browser} %s"})
    assert opened.stdout == ""
    assert f"Opening {name} in your browser.\n" == opened.stderr
    given, mode, page = noted.read_text().split(" ", 2)
    token = url.partition("token=")[2]
    assert given == f"file://{home}/rps-{name}.html"
    assert token not in given
    assert mode == "0o600"
    assert f'content="0;url={url}"' in page
    assert not list(home.glob("rps-*"))
    code = installed.rps("open", name, "--qr")
    assert code.stdout.strip() == url
    assert "█▀▀▀▀▀█" in code.stderr
    assert "A phone cannot reach this URL" in code.stderr  # the local site's, that is
    installed.rps("stop", name)


def test_ctrl_c_leaves_the_job_running_and_says_how_to_come_back(
    installed: Any, on_terminal: Callable[..., Terminal]
) -> None:
    terminal = on_terminal("start")
    terminal.until(r"the notebook is starting")
    os.write(terminal.master, b"\x03")
    assert terminal.end() == 130
    found = re.search(r"https://([a-z-]+)\.", terminal.seen)
    assert found
    assert f"rps stop {found[1]}" in " ".join(terminal.seen.split())  # lines break between words
    assert "Traceback" not in terminal.seen
    state = installed.rps("status", found[1]).stdout
    assert re.search(r"state: +(starting|ready)", state)


def test_a_terminal_that_is_closed_ends_nothing(
    installed: Any, on_terminal: Callable[..., Terminal]
) -> None:
    terminal = on_terminal("start")
    terminal.until(r"the notebook is starting")
    os.close(terminal.master)  # the kernel hangs up on the session's processes
    terminal.process.wait(60)
    terminal.master = os.open("/dev/null", os.O_RDONLY)
    until(lambda: "ready" in installed.rps("status").stdout, "the session")


def test_root_is_warned_and_served(tmp_path: Path) -> None:
    """Once as root, with the installation that runs these tests."""
    import json
    import subprocess
    import sys

    if os.getuid() != 0:
        pytest.skip("only root can be root")
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "RPS_LOCAL_SERVICE_DIR": str(tmp_path / "service"),
        "RPS_CLUSTER": "local",
    }
    command = [sys.executable, "-m", "rps_core.cli.main"]

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
