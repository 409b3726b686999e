"""`rps proxy` by the dozen: forks of one process that has loaded the program, since loading it takes most of
a start. What runs in each is the same as after an ordinary start.

    python -m tests.faults.spawner

reads orders from stdin, a line of JSON each: the arguments, and the file for what it prints; and answers
each with the pid.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path


class Spawned:
    """One such process, as far as tests need what Popen has."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._handle: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._handle = None

    def poll(self) -> int | None:
        """None while it runs."""
        if self._handle is not None and not select.select([self._handle], [], [], 0)[0]:
            return None
        return 0

    def send_signal(self, number: int) -> None:
        if self._handle is not None:
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        if self.poll() is None:
            self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def wait(self, timeout: float | None = None) -> int:
        if self._handle is not None:
            if not select.select([self._handle], [], [], timeout)[0]:
                raise TimeoutError("it does not end")
            os.close(self._handle)
            self._handle = None
        return 0


class Spawner:
    """The process that has loaded the program."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.spawner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def start(self, arguments: list[str], log: Path) -> Spawned:
        """`rps proxy` with these arguments, leader of a process group."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([arguments, str(log)]).encode() + b"\n")
        self._process.stdin.flush()
        return Spawned(int(self._process.stdout.readline()))

    def __enter__(self) -> Spawner:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # what it started is ended by whoever had it started
            pass


def _main() -> None:
    import uvloop  # noqa: F401

    import rps_proxy.engine_cli
    import rps_proxy.server
    import rps_proxy.settings  # noqa: F401
    from rps_proxy.cli import proxy

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # they are waited for by their pidfd
    for line in sys.stdin:
        arguments, log = json.loads(line)
        pid = os.fork()
        if pid:
            print(pid, flush=True)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), 1)
        os.dup2(1, 2)
        proxy(arguments)


if __name__ == "__main__":
    _main()
