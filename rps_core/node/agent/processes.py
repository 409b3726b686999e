"""Processes of this node: which they are, those below this one, and how they end.

The local scheduler and its supervisor, and the service, use it too.
"""

import os
import signal
import subprocess
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from rps_core.node.agent.words import log

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def start_ticks(pid: int) -> Optional[int]:
    """Return a process's start in clock ticks since boot: unique with the pid.

    None where there is none; a zombie, which has ended and only waits to be reaped, is none.
    """
    seen = _process(pid)
    return None if seen is None else seen[1]


def descendants(root: int) -> Dict[int, int]:
    """Return all living descendants of `root`, as pid -> start ticks."""
    children: Dict[int, List[Tuple[int, int]]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            seen = _process(int(entry), zombies=True)
            if seen is not None:
                children.setdefault(seen[0], []).append((int(entry), seen[1]))
    found: Dict[int, int] = {}
    parents = [root]
    while parents:
        for pid, ticks in children.get(parents.pop(), ()):
            parents.append(pid)
            if start_ticks(pid) == ticks:
                found[pid] = ticks
    return found


def _process(pid: int, zombies: bool = False) -> Optional[Tuple[int, int]]:
    """Parent and start ticks of a process, by default of a living one."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # a command's name may hold anything
    except OSError:  # gone, before or while it was read, or hidden from us
        return None
    # A process whose first thread has ended looks like a zombie while its other threads live.
    if fields[0] in (b"Z", b"X") and int(fields[17]) <= 1 and not zombies:
        return None
    return int(fields[1]), int(fields[19])


def send(pid: int, ticks: int, signal_number: int) -> None:
    """Signal a process, unless the pid belongs to another one by now."""
    if start_ticks(pid) == ticks:
        try:
            os.kill(pid, signal_number)
        except (ProcessLookupError, PermissionError):  # gone, or a set-uid program: not ours to end
            pass


def prctl(option: int, argument: int) -> None:
    """Linux's prctl(2).

    Raises:
        OSError: the kernel refused.
        ImportError: this Python has no ctypes.
    """
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(%d)" % option)


def uptime() -> float:
    """Return the seconds since boot (OSError, ValueError: unknown)."""
    with open("/proc/uptime", "rb") as file:
        return float(file.read().split()[0])


class Processes:
    """Every process below this one, for as long as this one lives.

    It is made the reaper of its orphans, so whatever a notebook leaves behind (daemons, processes in
    sessions of their own) stays below it and is found at the end. Where the kernel cannot do that
    (before Linux 3.4), those seen at one time or another are remembered.
    """

    def __init__(self) -> None:
        self._exit_codes: Dict[int, Optional[int]] = {}
        self._seen: Dict[int, int] = {}
        try:
            prctl(PR_SET_CHILD_SUBREAPER, 1)
        except (OSError, ImportError) as error:
            log("could not become the reaper of orphans, which may outlive the job: %s" % error)

    def start(self, command: List[str], umask: Optional[int] = None, **options: Any) -> Any:
        """Start a program that gets SIGTERM when this process dies; answers the Popen.

        Ask `exit_code`, never the Popen, for how it ended: here all children are reaped together.
        """
        parent = os.getpid()

        def prepare() -> None:
            # A scheduler or `nohup` may have had signals ignored or blocked, and the kernels of a
            # notebook whose SIGINT is ignored cannot be interrupted.
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            # `qsig -s USR1` sends it to every process of a job of Torque or PBS. See jupyter_config.py.
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            if umask is not None:
                os.umask(umask)
            try:
                prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            except (OSError, ImportError):
                return  # the scheduler or the supervisor is left to end it
            if os.getppid() != parent:  # it died before the request for its death signal
                os._exit(1)

        process = subprocess.Popen(command, preexec_fn=prepare, **options)
        self._exit_codes[process.pid] = None
        return process

    def reap(self) -> bool:
        """Reap whatever has ended; true while any child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid in self._exit_codes:
                signalled = os.WIFSIGNALED(status)
                self._exit_codes[pid] = (
                    -os.WTERMSIG(status) if signalled else os.WEXITSTATUS(status)
                )

    def exit_code(self, process: Any) -> Optional[int]:
        """How a program of `start` ended, negative for a signal; None while it runs."""
        self.reap()
        code = self._exit_codes[process.pid]
        process.returncode = code  # else Popen would look for the child that we have reaped
        return code

    def left(self) -> Dict[int, int]:
        """Return the living processes below this one, as pid -> start ticks."""
        self.reap()
        self._seen.update(descendants(os.getpid()))
        self._seen = {pid: t for pid, t in self._seen.items() if start_ticks(pid) == t}
        return self._seen

    def end(
        self,
        first: Optional[Any],
        grace: float,
        hurry: Callable[[], bool] = lambda: False,
        rest: float = 1.0,
    ) -> List[int]:
        """End them all; return the pids that SIGKILL did not end.

        `first`, a Popen, gets TERM and `grace` seconds to end its own children; then the rest gets TERM
        and `rest` seconds, then KILL until nothing is left. While `hurry()` is true nothing is waited for.
        """

        def wait(seconds: float, enough: Callable[[], bool]) -> None:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and not enough() and not hurry():
                time.sleep(0.1)

        def any_left() -> bool:
            return bool(self.left()) or self.reap()  # a child that came after the look is seen here

        left = self.left()
        if first is not None and first.pid in left:
            send(first.pid, left[first.pid], signal.SIGTERM)
            wait(grace, lambda: self.exit_code(first) is not None)
        for pid, ticks in self.left().items():
            send(pid, ticks, signal.SIGTERM)
        wait(rest, lambda: not any_left())
        deadline = time.monotonic() + 10
        while any_left() and time.monotonic() < deadline:
            for pid, ticks in self.left().items():
                send(pid, ticks, signal.SIGKILL)
            time.sleep(0.02)
        return sorted(self.left())
