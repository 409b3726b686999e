"""Running a scheduler's commands: the one seam for tests, timeouts and environments.

The only module that imports sh, and only when a command is really run.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rps_core.errors import SchedulerError

_NOT_PASSED_ON = (
    "SBATCH_",
    "SLURM_",
    "SQUEUE_",
    "SACCT_",
    "SALLOC_",
    "SCANCEL_",
    "PBS_DPREFIX",
    "RPS_",
)


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ran to its end, whatever its exit code. Texts are decoded with replacement."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str


class Shell(Protocol):
    """Runs a program with an argument list, never through a shell.

    Raises:
        SchedulerError: the program is missing or cannot be started, or did not end within `timeout` seconds
            (transient).
    """

    def __call__(self, *argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        """Run `argv` with `stdin` as its input; `timeout` in seconds."""
        ...


def run(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
    """The real `Shell`: in the C locale, without variables that change a scheduler's defaults."""
    import sh

    try:
        command = sh.Command(argv[0])
    except sh.CommandNotFound:
        raise SchedulerError(
            f"`{argv[0]}` is not on the PATH of this host",
            "Is this a login node? `rps cluster` shows what was found.",
        ) from None
    timed_out = threading.Event()
    try:
        running = command(
            *argv[1:],
            _in=stdin,
            _env=command_environment(os.environ),
            _bg=True,
            _bg_exc=False,
            _tty_out=False,  # sh gives a terminal by default, and tools then colour what they print
            _new_session=True,  # Ctrl-C at the terminal must not cut a submission in half
            _decode_errors="replace",
            _ok_code=list(range(256)),
            _return_cmd=True,
        )
        # Not sh's own `_timeout`: it looks ten times a second, and so each command took 0.1 s.
        timer = threading.Timer(timeout, _end, (running, timed_out))
        timer.start()
        try:
            running.wait()
        finally:
            timer.cancel()
    except (
        sh.ForkException
    ) as error:  # whose text is a traceback, the system's word in its last line
        word = re.search(r"\[Errno \d+\] ([^:\n]+)", str(error))
        reason = word[1] if word else "the system refuses it"
        raise SchedulerError(f"`{argv[0]}` cannot be started: {reason}") from None
    except sh.SignalException as error:
        if timed_out.is_set():
            raise SchedulerError(
                f"`{argv[0]}` did not answer within {timeout:.0f} s",
                "The scheduler may be busy; nothing was concluded from its silence.",
                transient=True,
            ) from None
        return Finished(argv, 128 + abs(error.exit_code), "", _text(error.stderr))
    return Finished(argv, running.exit_code, _text(running.stdout), _text(running.stderr))


def _end(running: Any, timed_out: threading.Event) -> None:
    timed_out.set()
    with contextlib.suppress(ProcessLookupError):  # it ended at this very moment
        running.signal_group(signal.SIGKILL)  # its children too: they hold its output open


def command_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """A copy in the C locale, without what would override options or change formats."""
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith(_NOT_PASSED_ON) or name == "SLURM_CONF"
    }
    return {**kept, "LC_ALL": "C", "SLURM_TIME_FORMAT": "standard"}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
