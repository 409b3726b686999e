"""Start, find and end jobs under `rps_core.node.supervisor`."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from rps_core.node.agent.processes import descendants, send, start_ticks
from rps_core.node.job_id import boot, job_id
from rps_core.node.own_process import module_command

_MODULE = "rps_core.node.supervisor"


def start(session_dir: Path, walltime: float, timeout: float) -> str:
    """Start a supervisor, which runs `batch.sh` of the session's directory.

    Args:
        session_dir: the session's directory; the job's output is appended to its `job.log`.
        walltime: seconds after which the supervisor ends the job.
        timeout: seconds for the supervisor to start.

    Returns:
        The job's id. An exception, also an interrupt, leaves no job.

    Raises:
        OSError: the log cannot be written, or the supervisor does not start.
    """
    import socket
    import subprocess

    ours, theirs = socket.socketpair()
    ours.settimeout(timeout)
    job = ""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    with ours, theirs:
        log = os.open(session_dir / "job.log", flags, 0o600)
        try:
            command = [*module_command(_MODULE), str(session_dir)]
            command += ["--walltime", str(walltime), "--handshake", str(theirs.fileno())]
            starter = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={k: v for k, v in os.environ.items() if not k.startswith("RPS_")},
                start_new_session=True,
            )
        finally:
            os.close(log)
        theirs.close()
        try:
            job = ours.recv(256).decode()
            if job:
                ours.sendall(b"+")  # until here, an interrupt leaves no job
                return job
        finally:
            if not job:
                starter.kill()
            starter.wait()
    raise OSError("it ended at once")


def running() -> list[str]:
    """Return the job ids of all supervisors that run on this machine for this user."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is hidden from us
            command = (entry / "cmdline").read_bytes().split(b"\0")
            if _MODULE.encode() in command and entry.stat().st_uid == os.geteuid():
                found.append(job_id(int(entry.name)))
    return found


@dataclass(frozen=True)
class SupervisedJob:
    """The parts of a job's id; `ticks` since the boot when the supervisor started."""

    pid: int
    ticks: int
    boot: str
    host: str

    @classmethod
    def of(cls, job_id: str) -> SupervisedJob | None:
        """Return the job of this id; None: it is no id of a supervisor."""
        found = re.fullmatch(r"(\d+)\.(\d+)\.([0-9a-f]{8})@(.+)", job_id)
        return cls(int(found[1]), int(found[2]), found[3], found[4]) if found else None

    def lives(self) -> bool:
        """Whether the process of this id runs on this machine."""
        return self.boot == boot() and start_ticks(self.pid) == self.ticks

    def supervises(self, session_dir: Path) -> bool:
        """Whether it runs, and is the supervisor of this session.

        A record may name another process of this user, by mistake or by malice.
        """
        here = Path(f"/proc/{self.pid}")
        try:
            return (
                self.lives()
                and here.stat().st_uid == os.geteuid()
                and _MODULE.encode() in (here / "cmdline").read_bytes().split(b"\0")
                # However it was spelled on the command line.
                and (here / "cwd").samefile(session_dir)
            )
        except OSError:  # it has ended meanwhile, or is another user's
            return False

    def is_elsewhere(self) -> bool:
        """Whether the job was started on another machine."""
        return self.host != os.uname().nodename

    def age(self) -> float:
        """Return the seconds since it started."""
        ticks_a_second = os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.ticks / ticks_a_second

    def end(self, timeout: float) -> bool:
        """End the job: SIGTERM to its supervisor, SIGKILL to all after `timeout` seconds.

        Returns:
            Whether the supervisor has ended.
        """
        send(self.pid, self.ticks, signal.SIGTERM)
        if self._ends_within(timeout):
            return True
        # It is frozen, or waits for a process that cannot be ended. Children first: without it
        # they would be out of sight.
        for pid, ticks in descendants(self.pid).items():
            send(pid, ticks, signal.SIGKILL)
        send(self.pid, self.ticks, signal.SIGKILL)
        return self._ends_within(5.0)

    def why_gone(self) -> str:
        """Return what shows that the supervisor is gone, for one that left no exit.json."""
        if self.boot != boot():
            return "the machine was rebooted since"
        if start_ticks(self.pid) is not None:
            return f"process {self.pid} is another one by now, and there is no exit.json"
        return f"there is no process {self.pid}, and no exit.json: it was killed"

    def _ends_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.lives():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True
