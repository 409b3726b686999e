"""The command line: its commands are in `commands`, its errors end here. `rps --help` loads click and
nothing else."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import NoReturn

import click

from rps_core.commands import following, sessions, setup, start, terminal
from rps_core.errors import EXIT_DONE, EXIT_INTERRUPTED, RpsError, UsageError
from rps_core.version import __version__
from rps_proxy.cli import proxy

EXIT_CODES = """\b
Exit codes: 0 done, 1 a defect of rps, 2 usage or configuration, 3 no cluster detected,
4 the service, 5 the scheduler, 6 the job or the notebook failed, 7 no such session,
8 not ready within the time given, 9 `rps doctor` found what fails, 130 interrupted."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(__version__, prog_name="rps", message="%(prog)s %(version)s")
def rps() -> None:
    """Jupyter on a compute node, in the browser at your desk, over HTTPS.

    `rps start` finds out which cluster it is on, submits a job with that cluster's defaults and
    prints the notebook's URL.
    """


_THEMES = (start, sessions, following, setup, terminal)
for _command in (*(command for theme in _THEMES for command in theme.COMMANDS), proxy):
    rps.add_command(_command)


def main() -> None:
    """The entry point of `rps`."""
    run(rps)
    leave()


def leave() -> NoReturn:
    """End a command that is done. Python would first take all that it has loaded apart: 5 ms and more."""
    os._exit(EXIT_DONE)


def run(command: click.Command) -> None:
    """Run a command: one door for every error, with its exit code."""
    try:
        _run(command)
    finally:
        import gc

        # What is left at the end goes with the process: Python need not look through it once more.
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
        if isinstance(error, click.NoSuchOption):
            error = _told_its_place(error)
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except RpsError as error:
        from rps_core.wording import error_told

        click.echo(error_told(error), err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read has seen enough. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_DONE)
    except OSError as error:
        if error.filename is None:
            raise
        click.echo(f"rps: {error.filename}: {error.strerror}", err=True)
        click.echo("Mend that, or free some space, and try again.", err=True)
        sys.exit(UsageError.exit_code)


def _told_its_place(error: click.NoSuchOption) -> click.NoSuchOption:
    """With more to say where it is an option of a command, and was given before that."""
    context, option = error.ctx, error.option_name
    group = context.command if context else None
    below = group.commands.values() if isinstance(group, click.Group) else ()
    if context and any(option in parameter.opts for one in below for parameter in one.params):
        place = f"It stands behind the command: `{context.command_path} COMMAND {option}`."
        return click.NoSuchOption(option, f"{error.message} {place}", ctx=context)
    return error


def _open_standard_streams() -> None:
    """Make them fit to be written to. Where one is closed, the next file that is opened would take its
    place."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w")
    # A log, or a scheduler, may say what the locale's characters (ISO 8859-1) do not have.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr has it


if __name__ == "__main__":
    main()
