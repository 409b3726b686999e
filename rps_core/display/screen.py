"""The output on stderr while a session is started or followed."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from rps_core.display.live import LiveRegion
from rps_core.log import before_each_line
from rps_core.sessions.routes import rules_of
from rps_core.state.record import SessionRecord
from rps_core.system.user import login_name
from rps_core.text import plain, roughly

if TYPE_CHECKING:
    from rps_core.sessions.follow import Progress
    from rps_core.sessions.session import SessionView

# Seconds between two checks whether a background job is in the foreground again.
_BACKGROUND_CHECK = 0.5


_OTHERS = 3  # sessions that a start names


class Screen:
    """Output for people, on stderr: stdout is for the URL or data."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._area = LiveRegion(sys.stderr, wanted=not quiet)
        self._last = ""
        self._progress: Progress | None = None
        self._busy = False
        self._resumable = False

    def others(self, records: Iterable[SessionRecord]) -> None:
        """Print, in one line, which sessions have not ended; nothing without any."""
        living = [record for record in records if record.ended is None]
        if not living or self.quiet:
            return
        shown = [
            f"{record.called}, {roughly(time.time() - record.created)} old"
            for record in living[-_OTHERS:]
        ]
        more = [f"{len(living) - _OTHERS} more"] if len(living) > _OTHERS else []
        what = "another session" if len(living) == 1 else "other sessions"
        click.echo(f"You have {what}: {'; '.join([*shown, *more])} (`rps list`).", err=True)

    def started(self, record: SessionRecord, account_note: str | None) -> None:
        """Print, after the URL, what was started and how to reach it."""
        if self.quiet:
            return
        if account_note:
            click.echo(account_note, err=True)
        if line := record.environment.get("line"):
            from rps_core.display.prose import echo

            echo(f"Environment: {plain(line)}", err=True)
        if record.scheduler_words:
            from rps_core.system.complaints import quoted

            said = quoted([plain(line) for line in record.scheduler_words])
            click.echo(f"{record.scheduler} says:{said}", err=True)
        what = "allocation" if record.inside else "job"
        job = plain(str(record.job_id))
        click.echo(f"{record.called}: {what} {job} on {record.cluster}", err=True)
        if record.own_service and record.tunnel is None and record.endpoint.ca_file:
            from rps_core.system.browser_trust import remembered

            if not remembered(Path(record.endpoint.ca_file)):
                click.echo(f"CA certificate for your browser: {record.endpoint.ca_file}", err=True)
        if note := rules_of(record.endpoint).note(record.walltime):
            click.echo(note, err=True)
        forwarding = forwarding_command(record)
        if forwarding:
            click.echo(
                f"To reach it over ssh, run this on your own machine:\n    {forwarding}", err=True
            )

    def named(self, record: SessionRecord) -> None:
        """Print which session is followed."""
        if self._area.live:
            job = plain(str(record.job_id))
            click.echo(f"{record.called}: job {job} on {record.cluster}", err=True)

    def show(self, progress: Progress) -> None:
        """Show the progress: redrawn in place on a terminal, else one line per change."""
        from rps_core.display import progress as view

        self._busy = True
        self._progress = progress
        in_front = self._area.in_front
        if self._area.live and self._resumable:
            pause = 0.0 if in_front else _BACKGROUND_CHECK
            signal.setitimer(signal.ITIMER_REAL, pause, pause)
        if self._area.live and in_front:
            before_each_line(self._area.clear)  # a log line must not be overwritten
            self._area.draw(view.lines(progress, time.time()))
        else:
            self._print_change(progress)
        self._busy = False

    def _print_change(self, progress: Progress) -> None:
        from rps_core.display import progress as view

        text = view.one_line(progress)
        if not self.quiet and text != self._last:
            click.echo(f"{progress.session.record.name}: {text}", err=True)
        self._last = text

    @contextlib.contextmanager
    def resumable(self) -> Iterator[None]:
        """Handle Ctrl-Z, `fg` and `bg`: draw again below the shell's output.

        A running background job gets no signal for `fg`, so it polls.
        """

        def resumed(_number: int, _frame: FrameType | None) -> None:
            self._area.moved()
            if self._progress is not None and not self._busy:
                self.show(self._progress)

        def check(number: int, frame: FrameType | None) -> None:
            if self._area.in_front:
                resumed(number, frame)

        before = signal.signal(signal.SIGCONT, resumed), signal.signal(signal.SIGALRM, check)
        self._resumable = True
        try:
            yield
        finally:
            self._resumable = False
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGCONT, before[0])
            signal.signal(signal.SIGALRM, before[1])

    def ready(self, session: SessionView) -> None:
        """Print on a terminal, in place of the progress, where the session runs, and until when."""
        if self.quiet or not sys.stderr.isatty():
            return
        from rps_core.display.colour import BOLD, GREEN, Colours
        from rps_core.display.prose import echo
        from rps_core.display.wording import ready_line

        if not session.reason:  # a warning stays
            self._area.clear()
        colours = Colours(sys.stderr)
        mark = "✓ " if _can_print("✓") else ""
        echo(f"{colours.paint(mark, BOLD, GREEN)}{plain(ready_line(session))}", err=True)

    def link(self, session: SessionView) -> None:
        """Print the session's URL on a terminal, as the last line: the first may have left the screen."""
        if session.url is not None and not self.quiet and sys.stderr.isatty():
            from rps_core.display.link import print_url

            print_url(session.url, sys.stderr)

    def interrupted(self) -> None:
        """Begin a new line after the `^C` that the terminal has echoed."""
        if self._area.live:
            click.echo(err=True)

    def done(self) -> None:
        """Keep the last output on the screen."""
        before_each_line(None)
        self._area.leave()


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stderr.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def forwarding_command(record: SessionRecord) -> str | None:
    """Return the ssh command that forwards a port to the personal service; None: none is needed."""
    if not record.own_service:
        return None
    through = ""
    if record.tunnel is not None:
        port, target, host = record.tunnel.port, record.tunnel.socket, record.tunnel.host
    elif "SSH_CONNECTION" in os.environ:
        import socket

        port, host = record.endpoint.port, socket.gethostname()
        target = f"127.0.0.1:{port}"
    else:
        return None
    # The server address of the user's ssh connection is reachable from the user's machine.
    connection = os.environ.get("SSH_CONNECTION", "").split()
    if len(connection) == 4 and not connection[2].lower().startswith("fe80:"):
        from rps_core.proxy_client.personal import is_on_this_host

        if not is_on_this_host(record):
            through = f"-J {login_name()}@{connection[2]} "  # to the login node of the service
        else:
            host = connection[2]
    return f"ssh -N {through}-L {port}:{target} {login_name()}@{host}"
