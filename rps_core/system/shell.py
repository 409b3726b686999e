"""Run commands: the one place for time limits and environments.

A command whose whole answer is wanted, as each of a scheduler's is, is run by the standard library. One whose
output the user watches as it comes is run by sh, which only this module imports, and only then: importing it
(and asyncio) costs more than a scheduler's command (docs/architecture.md, "Decisions").

Not through here go: programs that outlive the call (supervisors, the personal service, workers, log filters),
what the service runs without blocking its event loop (unmunge), and the agent, which has the standard library
alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import IO, TYPE_CHECKING, Protocol

from rps_core.errors import SchedulerError
from rps_core.node.agent.files import missing_interpreter
from rps_core.system.programs import which
from rps_core.values import dataclass

if TYPE_CHECKING:
    from subprocess import Popen

    from rps_core.traits import CommandVariables

_SLOW = 5.0  # seconds until the user reads which command has not answered
_SLICE = 1.0  # seconds between two looks at a command that does not answer
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


def stream(*argv: str, environment: Mapping[str, str], each_line: Callable[[str], None]) -> int:
    """Run a program that the user watches, without input; return its exit code.

    Args:
        argv: the program and its arguments.
        environment: its whole environment.
        each_line: is called with each line of its output, stdout and stderr, as it comes.

    Raises:
        SchedulerError: the program is missing or cannot be started.
    """
    import sh

    try:
        program = sh.Command(argv[0])
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123
            done = program(
                *argv[1:],
                _in=nothing,
                _out=each_line,
                _err_to_out=True,
                _env=dict(environment),
                _tty_out=False,  # sh gives a terminal by default, and tools then colour what they print
                _decode_errors="replace",
                _ok_code=list(range(256)),
                _return_cmd=True,
            )
    except sh.CommandNotFound:
        raise _not_started(argv[0], FileNotFoundError()) from None
    except sh.ForkException as error:  # its text is a traceback, the system's word in its last line
        word = re.search(r"\[Errno \d+\] ([^:\n]+)", str(error))
        reason = word[1] if word else "the system refuses it"
        raise _not_started(argv[0], OSError(0, reason)) from None
    except sh.SignalException as error:
        return 128 + abs(int(error.exit_code))
    return int(done.exit_code)


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
    import subprocess

    until = time.monotonic() + timeout
    try:
        running = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C at the terminal must not cut a submission in half
        )
    except OSError as error:
        raise _not_started(argv[0], error) from None
    with running:
        if running.stdin is not None:  # `communicate` gives all of it only if it has no time limit
            threading.Thread(
                target=_give, args=(running.stdin, stdin.encode()), daemon=True
            ).start()
            running.stdin = None
        output = _output(running, argv[0], timeout, until)
    code = running.returncode
    return Finished(argv, code if code >= 0 else 128 - code, *map(_text, output))


def _give(pipe: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), pipe:  # the program has ended, or reads no more
        pipe.write(data)


def _output(
    running: Popen[bytes], program: str, timeout: float, until: float
) -> tuple[bytes, bytes]:
    """Return what a program writes to stdout and stderr until it ends.

    Raises:
        SchedulerError: it did not end within its time. It is killed.
    """
    from subprocess import TimeoutExpired

    is_named = has_ended = False
    while True:
        try:
            left = until - time.monotonic()
            return running.communicate(timeout=max(0.0, min(left, _SLICE)))
        except TimeoutExpired as so_far:
            output = so_far.output or b"", so_far.stderr or b""
        now = time.monotonic()
        if running.poll() is not None:
            if has_ended:  # what it left running holds its output open
                return output
            has_ended = True
        elif now >= until:
            with contextlib.suppress(ProcessLookupError):  # it ended at this very moment
                os.killpg(running.pid, signal.SIGKILL)  # its children too
            raise _no_answer(program, timeout, output)
        elif now >= until - timeout + _SLOW and not is_named:
            is_named = True
            _say_that_it_is_slow(program, timeout, output[1])


def _not_started(program: str, error: OSError) -> SchedulerError:
    """Return the error for a program that the system did not start."""
    path = which(program)
    if path is None:
        missing = "is not an executable file" if "/" in program else "is not on the PATH"
        return SchedulerError(
            f"`{program}` {missing} of this host",
            "Run rps on a login node; `rps cluster` shows what was detected.",
        )
    gone = missing_interpreter(path)
    reason = f"its interpreter {gone} is missing" if gone else error.strerror
    return SchedulerError(f"`{program}` cannot be started: {reason}")


def _no_answer(program: str, timeout: float, output: tuple[bytes, bytes]) -> SchedulerError:
    """Return the error for a program that did not end within its time."""
    said = _last_word(_text(output[1])) or _last_word(_text(output[0]))
    return SchedulerError(
        f"`{program}` did not answer within {timeout:.0f} s"
        + (f"; it printed: {said}" if said else ""),
        "The scheduler may be busy: try again later.",
        transient=True,
    )


def _say_that_it_is_slow(program: str, timeout: float, stderr: bytes) -> None:
    """Print which command has not answered, how long rps waits, and its last word."""
    from rps_core.log import notice

    word = _last_word(_text(stderr))
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
