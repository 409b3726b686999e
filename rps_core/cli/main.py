"""The command `rps`: its groups of commands, and the handling of every error.

`rps --help` loads click and nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
from typing import Any, NoReturn, TextIO, cast

import click

from rps_core.errors import EXIT_DONE, EXIT_INTERRUPTED, RpsError, UsageError
from rps_core.help import Group, version_option
from rps_core.version import __version__

EXAMPLES = (
    ("rps start", "Start a notebook with the cluster's defaults."),
    ("rps start -p debug -t 30", "Start one in partition debug, for 30 minutes."),
)
_OF_A_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
EXIT_CODES = """Exit codes: 0 success, 1 a bug in rps, 2 usage or configuration error, 3 no cluster
detected, 4 proxy service error, 5 scheduler error, 6 the job or the notebook failed, or its environment
could not be built, 7 no such session, 8 timeout, 9 `rps doctor` found a failure or the proxy service is not
ready, 10 a plugin that the command depends on is broken, 11 the site's policy refuses the request, 12 no ssh
connection, 130 interrupted."""


@click.group(
    cls=Group,
    examples=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[version_option(f"rps {__version__}")],
    epilog=EXIT_CODES,
)
def rps() -> None:
    """Run Jupyter on a compute node and use it in your browser over HTTPS.

    `rps start` detects the cluster, submits a job with the cluster's defaults and prints the notebook's URL.
    """


# Where each command is: it is imported when it is run or listed.
_HERE = "rps_core.cli.commands"
rps.add_places("Start a session", {
    "start": f"{_HERE}.start:start",
    "again": f"{_HERE}.start:again",
    "connect": f"{_HERE}.connect:connect",
})  # fmt: skip
rps.add_places("Look at sessions", {
    "list": f"{_HERE}.sessions:list_",
    "status": f"{_HERE}.sessions:status",
    "wait": f"{_HERE}.wait:wait",
    "why": f"{_HERE}.sessions:why",
    "logs": f"{_HERE}.sessions:logs",
    "open": f"{_HERE}.wait:open_",
    "url": f"{_HERE}.sessions:url",
})  # fmt: skip
rps.add_places("Change a session", {
    "stop": f"{_HERE}.changes:stop",
    "share": f"{_HERE}.changes:share",
    "forget": f"{_HERE}.changes:forget",
})  # fmt: skip
rps.add_places("Set up", {
    "init": f"{_HERE}.setup:init",
    "doctor": f"{_HERE}.setup:doctor",
    "env": f"{_HERE}.env:env",
    "cluster": f"{_HERE}.setup:cluster",
    "config": f"{_HERE}.setup:config",
    "completion": f"{_HERE}.shell:completion",
    "man": f"{_HERE}.shell:man",
})  # fmt: skip
rps.add_places("For operators", {
    "site": f"{_HERE}.setup:site",
    "proxy": f"{_HERE}.proxy:proxy",
})  # fmt: skip


def main() -> None:
    """Run `rps`: the entry point."""
    run(rps)
    leave()


def leave() -> NoReturn:
    """End the process without Python's finalization, which takes 5 ms or more."""
    os._exit(EXIT_DONE)


def run(command: click.Command) -> None:
    """Run a command, print its error if it fails, and exit with the error's code."""
    try:
        _run(command)
    finally:
        import gc

        # The process ends now: a last garbage collection would free nothing.
        gc.freeze()


def _run(command: click.Command) -> None:
    _open_standard_streams()
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as `entry` left it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        command(standalone_mode=False)
        sys.stdout.flush()
        sys.stderr.flush()
    except click.ClickException as error:
        _show(_with_position(error) if isinstance(error, click.NoSuchOption) else error)
        _exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _print("Interrupted.")
        _exit(EXIT_INTERRUPTED)
    except RpsError as error:
        from rps_core.display.colour import Colours
        from rps_core.display.wording import error_text

        _print(error_text(error, Colours(sys.stderr)))
        _exit(error.exit_code)
    except BrokenPipeError:  # the reader (head, less) has closed the pipe
        _exit(EXIT_DONE)
    except OSError as error:
        message = _of_the_system(error)
        if message is None:
            raise
        _print(f"rps: {message}")
        _exit(UsageError.exit_code)


def _show(error: click.ClickException) -> None:
    """Print an error of click's, with `Error:` in the colour of errors on a terminal."""
    if not sys.stderr.isatty():
        error.show()
        return
    from rps_core.display.colour import BOLD, RED, Colours

    text = io.StringIO()
    error.show(text)
    lines = text.getvalue().rstrip("\n").split("\n")
    begin = "Error:"
    painted = Colours(sys.stderr).paint(begin, BOLD, RED)
    shown = [line.replace(begin, painted, 1) if line.startswith(begin) else line for line in lines]
    _print("\n".join(shown))


def _of_the_system(error: OSError) -> str | None:
    """Return what to say of an error that is the system's, not a bug in rps; None: it may be a bug."""
    advice = "Fix its permissions or free some disk space, then try again."
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}\n{advice}"
    if error.errno in _OF_A_DISK:  # what writes files names them: this is standard output
        return f"Cannot write the output: {error.strerror}. {advice}"
    return None


def _print(message: str) -> None:
    click.echo(message, err=True, color=True if "\033[" in message else None)


def _exit(code: int) -> NoReturn:
    """Exit, without output that could not be written: Python would try again in its last flush."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


class _Messages:
    """Standard error. What cannot be written to it (a full disk, a closed pipe) ends no command halfway.

    `strict`: the stream that raises, for the log, which counts what is lost.
    """

    def __init__(self, strict: io.TextIOWrapper) -> None:
        self.strict = strict

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        with contextlib.suppress(OSError):
            self.strict.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with contextlib.suppress(OSError):
            self.strict.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.strict, name)


def _with_position(error: click.NoSuchOption) -> click.NoSuchOption:
    """Add a hint if the option belongs after the command's name."""
    context, option = error.ctx, error.option_name
    group = context.command if context else None
    below = group.commands.values() if isinstance(group, click.Group) else ()
    if context and any(option in parameter.opts for one in below for parameter in one.params):
        hint = f"Put it after the command: `{context.command_path} COMMAND {option}`."
        return click.NoSuchOption(option, f"{error.message} {hint}", ctx=context)
    return error


def _open_standard_streams() -> None:
    """Open closed standard streams: the next opened file would get their descriptor."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w")
    if isinstance(sys.stderr, io.TextIOWrapper) and not sys.stderr.isatty():
        sys.stderr = cast(TextIO, _Messages(sys.stderr))
    # A log or a scheduler's output may contain characters that the locale (ISO 8859-1) cannot encode.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr has it
    if sys.stdout.isatty() or sys.stderr.isatty():
        from rps_core.system.terminal import guard_terminals

        guard_terminals()


if __name__ == "__main__":
    main()
