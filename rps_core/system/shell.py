"""Run commands to their end: the one place for time limits and environments.

The only module that imports sh, and only when a command is really run. Not through here go: programs that
outlive the call (supervisors, the personal service, workers, log filters), what the service runs without
blocking its event loop (unmunge), and the agent, which has the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol

from rps_core.errors import SchedulerError
from rps_core.node.agent.files import missing_interpreter
from rps_core.values import dataclass

if TYPE_CHECKING:
    from rps_core.traits import CommandVariables

_SLOW = 5.0  # seconds until the user reads which command has not answered
_OWN = "RPS_"  # rps's variables begin so: no command of a scheduler passes them on to a job


@dataclass(frozen=True, slots=True)
class Finished:
    """The result of a command, whatever its exit code; invalid UTF-8 is replaced."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str


class Shell(Protocol):
    """Run a program with an argument list, never through a shell.

    Raises:
        SchedulerError: the program is missing or cannot be started, or did not end within `timeout` seconds
            (transient).
    """

    def __call__(self, *argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        """Run `argv` with `stdin` as its input; `timeout` in seconds."""
        ...


def run(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
    """Run a program in the C locale; see `Shell`."""
    return _run(argv, stdin, timeout, command_environment(os.environ))


def bound(*variables: CommandVariables | None) -> Shell:
    """Return a `Shell` like `run`, with these changes of the environment; None changes nothing."""

    def run_bound(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        return _run(argv, stdin, timeout, command_environment(os.environ, *variables))

    return run_bound


def answered_by(known: Mapping[tuple[str, ...], Finished], shell: Shell) -> Shell:
    """Return a `Shell` that does not run commands whose results are known."""

    def run_unknown(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        if not stdin and argv in known:
            return known[argv]
        return shell(*argv, stdin=stdin, timeout=timeout)

    return run_unknown


def noted_in(known: MutableMapping[tuple[str, ...], Finished], shell: Shell) -> Shell:
    """Return a `Shell` that notes the results of its commands without input."""

    def run_and_note(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        done = shell(*argv, stdin=stdin, timeout=timeout)
        if not stdin:
            known[argv] = done
        return done

    return run_and_note


def _run(
    argv: tuple[str, ...], stdin: str, timeout: float, environment: dict[str, str]
) -> Finished:
    import sh

    try:
        command = sh.Command(argv[0])
    except sh.CommandNotFound:
        missing = "is not an executable file" if "/" in argv[0] else "is not on the PATH"
        raise SchedulerError(
            f"`{argv[0]}` {missing} of this host",
            "Run rps on a login node; `rps cluster` shows what was detected.",
        ) from None
    timed_out = threading.Event()
    try:
        running = command(
            *argv[1:],
            _in=stdin,
            _env=environment,
            _bg=True,
            _bg_exc=False,
            _tty_out=False,  # sh gives a terminal by default, and tools then colour what they print
            _new_session=True,  # Ctrl-C at the terminal must not cut a submission in half
            _decode_errors="replace",
            _ok_code=list(range(256)),
            _return_cmd=True,
        )
        # Not sh's own `_timeout`: it looks ten times a second, and so each command took 0.1 s.
        timers = (
            threading.Timer(timeout, _end, (running, timed_out)),
            threading.Timer(_SLOW, _say_that_it_is_slow, (argv[0], running, timeout)),
        )
        for timer in timers:
            timer.daemon = True
            timer.start()
        try:
            running.wait()
        finally:
            for timer in timers:
                timer.cancel()
    except (
        sh.ForkException
    ) as error:  # whose text is a traceback, the system's word in its last line
        word = re.search(r"\[Errno \d+\] ([^:\n]+)", str(error))
        gone = missing_interpreter(str(command))
        reason = f"its interpreter {gone} is missing" if gone else None
        reason = reason or (word[1] if word else "the system refuses it")
        raise SchedulerError(f"`{argv[0]}` cannot be started: {reason}") from None
    except sh.SignalException as error:
        if timed_out.is_set():
            said = _last_word(_text(error.stderr)) or _last_word(_text(error.stdout))
            raise SchedulerError(
                f"`{argv[0]}` did not answer within {timeout:.0f} s"
                + (f"; it printed: {said}" if said else ""),
                "The scheduler may be busy: try again later.",
                transient=True,
            ) from None
        return Finished(argv, 128 + abs(error.exit_code), "", _text(error.stderr))
    return Finished(argv, running.exit_code, _text(running.stdout), _text(running.stderr))


def _end(running: Any, timed_out: threading.Event) -> None:
    timed_out.set()
    with contextlib.suppress(ProcessLookupError):  # it ended at this very moment
        running.signal_group(signal.SIGKILL)  # its children too: they hold its output open


def _say_that_it_is_slow(program: str, running: Any, timeout: float) -> None:
    """Print which command has not answered, how long rps waits, and its last word."""
    from rps_core.log import notice

    if timeout <= _SLOW or not running.is_alive():
        return
    word = _last_word(_text(running.process.stderr))
    notice(
        f"rps: waiting for `{program}`, up to {timeout:.0f} s"
        + (f". It prints: {word}" if word else "")
    )


def _last_word(output: str) -> str:
    """Return the last line with text of a command's output."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def command_environment(
    environment: Mapping[str, str], *variables: CommandVariables | None
) -> dict[str, str]:
    """Return a copy of an environment for a scheduler's commands, in the C locale."""
    kept = {name: value for name, value in environment.items() if not name.startswith(_OWN)}
    for changes in variables:
        if changes is not None:
            kept = changes.applied(kept)
    return {**kept, "LC_ALL": "C"}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
