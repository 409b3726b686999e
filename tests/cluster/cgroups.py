"""Control groups (version 1) of a host, by which Slurm limits a job's memory.

They are children of this process's groups, so limits that are set from outside stay in force.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("freezer", "memory", "cpuacct")


def usable() -> bool:
    """Return whether Slurm can use cgroups here: version 2 alone would need systemd."""
    return all(_own(controller) for controller in CONTROLLERS)


def _own(controller: str) -> Path | None:
    """Return the directory of this process's group."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            directory = _ROOT / controller / path.lstrip("/")
            return directory if (directory / "cgroup.procs").exists() else None
    return None


@dataclass(frozen=True)
class Cgroups:
    """One group for each controller, for all processes of a host."""

    directories: tuple[Path, ...]
    controllers: tuple[str, ...] = CONTROLLERS

    @classmethod
    def make(cls, name: str) -> Cgroups:
        made = []
        for controller in CONTROLLERS:
            own = _own(controller)
            assert own is not None
            directory = own / name
            directory.mkdir(exist_ok=True)
            if controller == "memory":
                (directory / "memory.use_hierarchy").write_text("1")
            made.append(directory)
        return cls(tuple(made))

    def join(self) -> None:
        """Move this process into the groups."""
        for directory in self.directories:
            (directory / "cgroup.procs").write_text("0")

    def remove(self) -> None:
        """Remove the groups and Slurm's groups in them, once they have no processes.

        Those of a suspended job are frozen, and end once they are thawed.
        """
        for directory in self.directories:
            nested = [path for path in directory.rglob("*") if path.is_dir()]
            for group in [*sorted(nested, reverse=True), directory]:
                _end_processes(group)
                for attempt in range(50):  # the kernel removes killed processes asynchronously
                    try:
                        group.rmdir()
                        break
                    except OSError:
                        if attempt == 49:
                            raise
                        time.sleep(0.1)


def _end_processes(group: Path) -> None:
    """Kill the processes of a group, and thaw it: frozen processes do not die."""
    for pid in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    state = group / "freezer.state"
    if state.exists() and "THAWED" not in state.read_text():
        state.write_text("THAWED")
