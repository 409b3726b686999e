"""Daemons on hosts, started without a service manager, and disturbed by the tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.cluster.hosts import Host
from tests.stands.waiting import until

# The shell ends at once, so the daemon becomes a child of the host's first process.
_DETACH = """
name=$1; shift
setsid "$@" </dev/null >>"/srv/$name.log" 2>&1 &
echo $! >"/srv/$name.pid"
"""


@dataclass(frozen=True)
class Daemon:
    """One daemon; `argv` keeps it in the foreground, `account` is the user it runs as."""

    host: Host
    name: str
    argv: tuple[str, ...]
    account: str = "root"
    # a command that succeeds, on its host, once the daemon answers
    question: tuple[str, ...] = ("true",)

    def start(self) -> None:
        """Start it; `await_answer` waits until it works."""
        become = ["setpriv", f"--reuid={self.account}", f"--regid={self.account}", "--init-groups"]
        self.host.run(["sh", "-c", _DETACH, "sh", self.name, *become, *self.argv], check=True)

    def await_answer(self) -> None:
        """Wait until it works.

        Raises:
            RuntimeError: it exited at once; the message has its output.
        """

        def answers() -> bool:
            done = self.host.run(self.question, capture_output=True)
            if done.returncode != 0 and not self.runs:
                raise RuntimeError(f"{self.name} ended at once: {self.log}")
            return done.returncode == 0

        until(answers, f"{self.name} on {self.host.name}")

    @property
    def pid(self) -> int:
        """Return its pid on its host."""
        return int((self.host.directory / f"{self.name}.pid").read_text())

    @property
    def log(self) -> str:
        return (self.host.directory / f"{self.name}.log").read_text(errors="replace")

    @property
    def runs(self) -> bool:
        done = self.host.run(["test", "-e", f"/proc/{self.pid}"])
        return done.returncode == 0

    def send(self, number: signal.Signals) -> None:
        self.host.run(["kill", f"-{number.value}", str(self.pid)], check=True)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze it within the block: it keeps its connections and answers nothing."""
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Stop it for the length of the block."""
        self.end()
        try:
            yield
        finally:
            self.start()
            self.await_answer()

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send the signal and wait until it has ended."""
        self.send(number)
        until(lambda: not self.runs, f"the end of {self.name} on {self.host.name}")
