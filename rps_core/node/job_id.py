"""The ids of the local scheduler's jobs."""

import os
from pathlib import Path

from rps_core.node.agent.processes import start_ticks


def job_id(pid: int) -> str:
    """Return the id that identifies a process for good: `PID.TICKS.BOOT@HOST`."""
    return f"{pid}.{start_ticks(pid)}.{boot()}@{os.uname().nodename}"


def boot() -> str:
    """Return eight hexadecimal digits that differ after each boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii")[:8]
