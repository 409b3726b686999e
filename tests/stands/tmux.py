"""A terminal of the test's own host: a tmux server, whose window is resized and read."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tests.stands.waiting import until


class Tmux:
    """A context manager: a window in which a command runs; at its end the server is ended."""

    def __init__(
        self, directory: Path, command: list[str], columns: int, rows: int, env: Mapping[str, str]
    ) -> None:
        self._socket = str(directory / "tmux")
        self._environment = {**os.environ, **env, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        for name in ("TMUX", "COLUMNS", "LINES"):  # of the terminal that runs the tests
            self._environment.pop(name, None)
        # What a command prints is there once it has ended, too.
        words = f"{shlex.join(command)}; echo END; exec sleep 600"
        self._tmux(
            "-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), "sh", "-c", words
        )  # fmt: skip

    def __enter__(self) -> Tmux:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tmux("kill-server")

    def resize(self, columns: int, rows: int) -> None:
        """Make the window this large."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def lines(self) -> list[str]:
        """Return the lines of the screen and above it, without empty ones."""
        shown = self._tmux("capture-pane", "-p", "-S", "-200")
        return [line.rstrip() for line in shown.splitlines() if line.strip()]

    def text(self) -> str:
        """Return the same, with broken lines joined."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-200")

    def until(self, wanted: str) -> list[str]:
        """Wait until a line has this text; return the lines."""
        until(lambda: any(wanted in line for line in self.lines()), wanted)
        return self.lines()

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, *arguments],
            env=self._environment, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return done.stdout
