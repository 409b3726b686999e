"""Run a build's commands on this host, for the launcher."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import Any

from rps_core.node.agent.processes import PR_SET_PDEATHSIG, prctl
from rps_core.node.builder.build import Runner
from rps_core.system.signals import DeferredSignals

_GRACE = 2.0  # seconds from SIGTERM to SIGKILL


class LauncherRunner(Runner):
    """Runs each command in a session of its own: Ctrl-C at the terminal reaches rps, which ends them."""

    def __init__(self, held: DeferredSignals) -> None:
        self._held = held

    def start(self, command: list[str], **options: Any) -> Any:
        """Start a program that gets SIGTERM when rps dies."""
        return subprocess.Popen(
            command, start_new_session=True, preexec_fn=_end_with_rps, umask=0o077, **options
        )

    def exit_code(self, process: Any) -> int | None:
        """Return how it ended; None while it runs."""
        code: int | None = process.poll()
        return code

    def end(self, process: Any) -> None:
        """End it and what it has started."""
        deadline = time.monotonic() + _GRACE
        _signal(process, signal.SIGTERM)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        _signal(process, signal.SIGKILL)
        process.wait()

    def pause(self, seconds: float) -> None:
        """Wait (KeyboardInterrupt: the user or the system ends rps)."""
        self._held.check()
        time.sleep(seconds)


def _end_with_rps() -> None:
    with contextlib.suppress(OSError, ImportError):
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal(process: Any, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
