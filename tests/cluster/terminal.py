"""A terminal on a host of the cluster: tmux, driven by keys, whose screen is read."""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import TracebackType

from tests.cluster.hosts import Account, Host


class Terminal:
    """A context manager; at its end the shell and the programs in it are ended."""

    def __init__(self, host: Host, account: Account, clone: Path, columns: int, rows: int) -> None:
        self._host, self._account = host, account
        self._socket = f"rps-{columns}-{time.monotonic_ns()}"
        self._prompt = f"{account.name}@{host.name}:~$ "
        # `rps` is typed as a user types it.
        shell = [
            "env", f"PS1={self._prompt}", f"PATH={clone}:/usr/bin:/bin", "bash", "--norc", "--noprofile",
        ]  # fmt: skip
        self._tmux(
            "-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), *shell
        )
        self.until(re.escape(self._prompt.strip()))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tmux("kill-server", check=False)

    def type(self, line: str) -> None:
        """Type a line and Enter, on a clear screen."""
        self._tmux("send-keys", "-R", "clear", "Enter")
        self._tmux("clear-history")
        self.answer(line)

    def answer(self, line: str) -> None:
        """Type a line and Enter, below what is on the screen."""
        self._tmux("send-keys", "-l", line)
        self._tmux("send-keys", "Enter")

    def press(self, key: str) -> None:
        """Press a key, by tmux's name for it (`C-c`)."""
        self._tmux("send-keys", key)

    def screen(self) -> str:
        """Return what is on the screen."""
        return self._tmux("capture-pane", "-p").rstrip("\n")

    def coloured(self) -> str:
        """Return what is on the screen, with ANSI's codes of colours."""
        return self._tmux("capture-pane", "-p", "-e").rstrip("\n")

    def until(self, pattern: str, seconds: float = 60, *, without: str | None = None) -> str:
        """Wait until the screen has the pattern, and `without` has gone; return its text.

        Broken lines are joined, and others are joined by blanks.
        """
        deadline = time.monotonic() + seconds
        while True:
            text = " ".join(self._tmux("capture-pane", "-p", "-J").split())
            if re.search(pattern, text) and not (without and re.search(without, text)):
                return self.screen()
            assert time.monotonic() < deadline, f"no {pattern!r} on the screen:\n{self.screen()}"
            time.sleep(0.2)

    def _tmux(self, *arguments: str, check: bool = True) -> str:
        command = ["tmux", "-L", self._socket, *arguments]
        done = self._host.run(
            command, self._account, env={"TERM": "xterm-256color"}, capture_output=True, timeout=30
        )
        assert done.returncode == 0 or not check, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout
