"""Run `rps proxy` as forks of one process that has loaded the program.

Loading takes most of a start's time. What runs in each fork is the same as after an ordinary start.

    python -m tests.stands.spawner

reads orders from stdin, one line of JSON each, and answers each with a number: `start` with the pid, `wait`
with the status of a process that has ended, as os.waitpid returns it.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

from tests.stands.namespaces import enter

NAMESPACES = ("net", "mnt")


class Spawned:
    """One such process, with the part of Popen's interface that tests use."""

    def __init__(self, spawner: Spawner, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._spawner = spawner
        self._handle = os.pidfd_open(pid)  # a zombie until `wait`, so the pid is still its own

    def poll(self) -> int | None:
        """Return None while it runs, then its exit code: of a signal, the negative number."""
        if self.returncode is None and select.select([self._handle], [], [], 0)[0]:
            os.close(self._handle)
            status = self._spawner.order("wait", pid=self.pid)
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None and not select.select([self._handle], [], [], timeout)[0]:
            raise TimeoutError("it does not end")
        code = self.poll()
        assert code is not None
        return code


class Spawner:
    """The process that has loaded the program."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.stands.spawner"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C goes to the tests alone, which end what they started
        )
        self._turn = threading.Lock()

    def order(self, what: str, **more: object) -> int:
        """Send one order, and return its answer."""
        assert self._process.stdin
        assert self._process.stdout
        with self._turn:
            self._process.stdin.write(json.dumps({"order": what, **more}).encode() + b"\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def start(self, arguments: list[str], log: Path) -> Spawned:
        """Start `rps proxy` in this environment, as the leader of a process group.

        Its namespaces are those of this thread.
        """
        thread = f"/proc/{os.getpid()}/task/{threading.get_native_id()}"
        place = {
            "environment": dict(os.environ),
            "directory": str(Path.cwd()),
            "namespaces": [f"{thread}/ns/{kind}" for kind in NAMESPACES],
        }
        return Spawned(
            self, self.order("start", arguments=arguments, log=str(log.absolute()), **place)
        )

    def end(self) -> None:
        """End it: the tests that started processes end them."""
        with self._process:
            pass


@functools.cache
def spawner() -> Spawner:
    """Return the spawner that this process has until it ends."""
    found = Spawner()
    atexit.register(found.end)
    return found


def _main() -> None:
    import structlog  # noqa: F401
    import uvloop  # noqa: F401

    import rps_proxy.cli.engine
    import rps_proxy.server.libraries
    import rps_proxy.server.run
    import rps_proxy.server.serve
    import rps_proxy.server.systemd
    import rps_proxy.settings.loading  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        if order["order"] == "wait":
            print(os.waitpid(order["pid"], 0)[1], flush=True)
            continue
        namespaces = _others(order["namespaces"])
        pid = os.fork()
        if not pid:
            _become(order, namespaces)
        for namespace in namespaces:
            os.close(namespace)
        os.setpgid(pid, pid)  # before a test can signal the group
        print(pid, flush=True)


def _others(namespaces: list[str]) -> list[int]:
    """Open those that are not our own, in which only root can be."""
    own = [f"/proc/self/ns/{kind}" for kind in NAMESPACES]
    return [
        os.open(wanted, os.O_RDONLY | os.O_CLOEXEC)
        for wanted, ours in zip(namespaces, own, strict=True)
        if Path(wanted).readlink() != Path(ours).readlink()
    ]


def _become(order: dict[str, Any], namespaces: list[int]) -> NoReturn:
    from rps_proxy.cli.main import proxy

    os.setpgid(0, 0)
    for namespace in namespaces:
        enter(namespace)
        os.close(namespace)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(str(order["log"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for given, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(given, number)
    for given in (nothing, log):
        os.close(given)
    os.chdir(str(order["directory"]))
    os.environ.clear()
    os.environ.update(order["environment"])
    proxy(order["arguments"])
    raise AssertionError("click ends the process")


if __name__ == "__main__":
    _main()
