"""Control groups (version 1) for a host, so that its Slurm can hold jobs to their memory.

They hang below those of this process, so limits that are set from outside go on holding.
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
    """Whether this machine has what Slurm needs; with version 2 alone, Slurm needs systemd too."""
    return all(_own(controller) for controller in CONTROLLERS)


def _own(controller: str) -> Path | None:
    """The directory of the group that this process is in."""
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
        """Remove the groups, and those that Slurm made in them, once their processes are gone: one that is
        frozen, in a suspended job, goes when it is let on."""
        for directory in self.directories:
            nested = [path for path in directory.rglob("*") if path.is_dir()]
            for group in [*sorted(nested, reverse=True), directory]:
                _end_processes(group)
                for attempt in range(50):  # the kernel lets go of a killed process in its own time
                    try:
                        group.rmdir()
                        break
                    except OSError:
                        if attempt == 49:
                            raise
                        time.sleep(0.1)


def _end_processes(group: Path) -> None:
    """Kill what is in a group, and thaw it, since frozen processes do not die."""
    for pid in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    state = group / "freezer.state"
    if state.exists() and "THAWED" not in state.read_text():
        state.write_text("THAWED")
