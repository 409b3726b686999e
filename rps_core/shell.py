"""Running a scheduler's commands: the one seam for tests, timeouts and environments."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

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
        SchedulerError: the program is missing, or did not end within `timeout` seconds (transient).
    """

    def __call__(self, *argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        """Run `argv` with `stdin` as its input; `timeout` in seconds."""
        ...


def run(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
    """The real `Shell`: in the C locale, without variables that change a scheduler's defaults."""
    program = shutil.which(argv[0])
    if program is None:
        raise SchedulerError(
            f"`{argv[0]}` is not on the PATH of this host",
            "Is this a login node? `rps cluster` shows what was found.",
        )
    try:
        running = subprocess.Popen(
            [program, *argv[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=command_environment(os.environ),
            start_new_session=True,  # Ctrl-C at the terminal must not cut a submission in half
        )
    except OSError as error:
        raise SchedulerError(f"`{program}` cannot be run: {error.strerror}") from None
    try:
        stdout, stderr = running.communicate(os.fsencode(stdin), timeout)
    except subprocess.TimeoutExpired:
        _end(running)
        raise SchedulerError(
            f"`{argv[0]}` did not answer within {timeout:.0f} s",
            "The scheduler may be busy; nothing was concluded from its silence.",
            transient=True,
        ) from None
    code = running.returncode if running.returncode >= 0 else 128 - running.returncode
    return Finished(argv, code, _text(stdout), _text(stderr))


def _end(running: subprocess.Popen[bytes]) -> None:
    """With its children: they hold its output open."""
    with contextlib.suppress(ProcessLookupError):  # it ended at this very moment
        os.killpg(running.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):  # one that left the group
        running.communicate(timeout=1)


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
