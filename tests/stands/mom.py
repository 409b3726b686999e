"""pbs_mom's part in a job: start the batch script, signal and end its processes.

After the sources of Torque 6.1.3 and OpenPBS 23.06: src/resmom/start_exec.c, linux/mom_mach.c (kill_task,
kill_session), linux/mom_start.c (scan_for_terminated). The processes and signals are real.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.stands.waiting import until


class Mom:
    """One job; `shell` is its top process, the leader of the session that mom tracks."""

    def __init__(self, shell: Path, script: str, environment: Mapping[str, str]) -> None:
        self.shell = subprocess.Popen(
            [f"-{shell.name}"],
            executable=shell,
            stdin=subprocess.PIPE,
            env={**environment, "SHELL": str(shell)},
            start_new_session=True,
        )
        assert self.shell.stdin is not None
        self.shell.stdin.write(f"{script}\n".encode())
        self.shell.stdin.close()

    def members(self) -> list[int]:
        """Return the living processes of the job's session."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    if int(fields[3]) == self.shell.pid and fields[0] != "Z":
                        found.append(int(entry.name))
        return found

    def signal(self, number: int) -> None:
        """Send a signal to the session; TERM goes to its process groups, as in Torque."""
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):
                if number == signal.SIGTERM:
                    os.killpg(pid, number)
                else:
                    os.kill(pid, number)

    def end(self) -> None:
        """End the job: TERM, and KILL for what is left once the top process has ended.

        Mom also kills when `kill_delay` has passed; no test waits for that.
        """
        self.signal(signal.SIGTERM)
        until(lambda: self.shell.poll() is not None, "the end of the job's shell")
        self.kill()

    def kill(self) -> None:
        """Kill what is left of the session."""
        self.signal(signal.SIGKILL)
        self.shell.wait()


@contextmanager
def job(shell: Path, script: str, environment: Mapping[str, str]) -> Iterator[Mom]:
    """Start a job; at the end, kill what is left of its session."""
    mom = Mom(shell, script, environment)
    try:
        yield mom
    finally:
        mom.kill()
