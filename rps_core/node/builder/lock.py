"""The lock of a build: which process builds an environment, and whether it still runs.

The file holds what identifies that process among those of all hosts that share the directory.
"""

import json
import os
import socket
import time
from typing import Any, Dict

from rps_core.node.agent.processes import start_ticks

BEAT = 5.0  # seconds between two signs of life of a builder


class Lock:
    """The right to build one environment. `tree` is where its owner builds."""

    def __init__(self, path: str, tree: str) -> None:
        self.path = path
        self.tree = tree
        self._next = time.monotonic() + BEAT

    def beat(self) -> None:
        """Show that this builder lives; call it often."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + BEAT
            for path in (self.path, self.tree):
                try:
                    os.utime(path, None)
                except OSError:  # taken away by one that could not see us: both go on
                    pass

    def release(self) -> None:
        """Give it up, unless another builder has it by now."""
        if owner_of(self.path).get("tree") == os.path.basename(self.tree):
            unlink(self.path)


def owner_of(path: str) -> Dict[str, Any]:
    """Return what a lock says of its owner; empty: it is gone, or being written."""
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read().decode())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def has_ended(owner: Dict[str, Any]) -> bool:
    """Return whether a process has ended for certain: it was one of this host, in these process ids."""
    here = this_process()
    if not here["boot"] or any(owner.get(key) != here[key] for key in ("boot", "pids")):
        return False
    pid, ticks = owner.get("pid"), owner.get("ticks")
    return isinstance(pid, int) and start_ticks(pid) != ticks


def this_process() -> Dict[str, Any]:
    """Return what identifies this process among those of all hosts."""
    boot, pids = "", 0
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        pids = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        pass
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "boot": boot,
        "pids": pids,
        "pid": pid,
        "ticks": start_ticks(pid),
    }


def unlink(path: str) -> None:
    """Remove a file, if it is there and can be removed."""
    try:
        os.unlink(path)
    except OSError:
        pass
