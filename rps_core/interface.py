"""What the commands show of sessions, and how they find them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from types import FrameType
from typing import TYPE_CHECKING

import click

from rps_core import causes, client, ending, paths, recovery, sessions, shell, view
from rps_core import follow as following
from rps_core.account import login_name
from rps_core.errors import InterruptedByUserError, JobError, NotFoundError, RpsError, UsageError
from rps_core.follow import Sight
from rps_core.log import before_each_line
from rps_core.record import Record
from rps_core.screen import Area
from rps_core.session import Session, come_back
from rps_core.store import Store
from rps_core.wording import duration, for_a_terminal, plain, reason_in_full

if TYPE_CHECKING:
    from rps_core.cluster import Here

FindHere = Callable[[], "tuple[Here, Store]"]


_BEHIND = 0.5  # seconds between two looks whether a job in the background has come to the front


class Screen:
    """Everything for people goes to stderr: stdout holds the URL or the data."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._area = Area(sys.stderr, wanted=not quiet)
        self._last = ""
        self._sight: Sight | None = None
        self._busy = False
        self._resumable = False

    def started(self, record: Record, account_note: str | None) -> None:
        """After the URL: what was started, who pays, and how one reaches it from afar."""
        if self.quiet:
            return
        if account_note:
            click.echo(account_note, err=True)
        what = "in your allocation" if record.inside else "job"
        click.echo(f"{record.name}: {what} {record.job_id} on {record.cluster}", err=True)
        if record.own_service:
            click.echo(f"The CA that a browser must trust: {record.endpoint.ca_file}", err=True)
        if record.endpoint.protocol == "satellite":
            from rps_core import satellite

            click.echo(satellite.note(record.walltime), err=True)
        forwarding = forwarding_command(record)
        if forwarding:
            click.echo(
                f"You came by ssh: at your own machine, first run\n    {forwarding}", err=True
            )

    def named(self, record: Record) -> None:
        """Which session is followed, above what is shown of it."""
        if self._area.live:
            click.echo(f"{record.name}: job {record.job_id} on {record.cluster}", err=True)

    def show(self, sight: Sight) -> None:
        """Lines that change in place on a terminal; elsewhere, and in the background of a shell, one line for
        each change."""
        self._busy = True
        self._sight = sight
        in_front = self._area.in_front
        if self._area.live and self._resumable:
            pause = 0.0 if in_front else _BEHIND
            signal.setitimer(signal.ITIMER_REAL, pause, pause)
        if self._area.live and in_front:
            before_each_line(self._area.clear)  # a warning must not be drawn over
            self._area.draw(view.lines(sight, time.time()))
        else:
            self._print_change(sight)
        self._busy = False

    def _print_change(self, sight: Sight) -> None:
        text = view.one_line(sight)
        if not self.quiet and text != self._last:
            click.echo(f"{sight.session.record.name}: {text}", err=True)
        self._last = text

    @contextlib.contextmanager
    def resumable(self) -> Iterator[None]:
        """While this lasts, Ctrl-Z, `fg` and `bg` are coped with: the shell has printed below what was shown,
        so that is shown anew there. Of `fg` a job that runs in the background is not told: it looks."""

        def resumed(_number: int, _frame: FrameType | None) -> None:
            self._area.moved()
            if self._sight is not None and not self._busy:
                self.show(self._sight)

        def look(number: int, frame: FrameType | None) -> None:
            if self._area.in_front:
                resumed(number, frame)

        before = signal.signal(signal.SIGCONT, resumed), signal.signal(signal.SIGALRM, look)
        self._resumable = True
        try:
            yield
        finally:
            self._resumable = False
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGCONT, before[0])
            signal.signal(signal.SIGALRM, before[1])

    def interrupted(self) -> None:
        """Go below the `^C` that the terminal has written where the next line would begin."""
        if self._area.live:
            click.echo(err=True)

    def done(self) -> None:
        """Leave what was shown last where it is."""
        before_each_line(None)
        self._area.leave()


def first_sight(record: Record, store: Store) -> Session:
    """A session just submitted, before anybody was asked about it."""
    url = record.visit_url(store.files(record.name).secrets())
    return Session(record=record, state="pending", reason=None, url=url, time_left=None)


def follow(
    record: Record,
    here: Here,
    store: Store,
    screen: Screen,
    *,
    until_over: bool = False,
    timeout: float | None = None,
) -> Session:
    """Show the session until it is ready or over, with `until_over` past that, at the longest for `timeout`
    seconds. Ctrl-C leaves the job running, and says so."""
    try:
        with screen.resumable():
            session = following.follow(
                record, here, store, shell.run, screen.show, until_over=until_over, timeout=timeout
            )
    except KeyboardInterrupt:
        screen.interrupted()
        raise InterruptedByUserError(come_back(record)) from None
    finally:
        screen.done()
    return session


def followed(
    find: FindHere,
    name: str | None,
    *,
    quiet: bool,
    until_over: bool = False,
    timeout: float | None = None,
) -> tuple[Session, Store]:
    """Follow a session that there is; one that is over is shown as it is."""
    store = Store(paths.sessions_dir())
    record = store.find(name)
    screen = Screen(quiet=quiet)
    if record.ended is not None:
        session = sessions.survey([record], None, store, shell.run)[0]
        if until_over:
            screen.show(Sight.after(None, session))
            screen.done()
        return session, store
    here = find()[0]
    if record.cluster != here.site.cluster.name:
        raise UsageError(
            f"{record.name} is on {record.cluster}, and can be followed only from there",
            "Log in there, or give --cluster.",
        )
    screen.named(record)
    (record,), _ = recovery.adopt([record], here, store, shell.run)
    return follow(record, here, store, screen, until_over=until_over, timeout=timeout), store


def raise_if_failed(session: Session, store: Store) -> None:
    """A session that was waited for and did not become ready is an error.

    Raises:
        JobError: with the reason, what to do and the last lines of the job's log.
    """
    if not session.over:
        return
    name = session.record.name
    cause = f" ({session.cause})" if session.cause else ""
    was_ready = any(event.get("event") == "ready" for event in store.files(name).events())
    over = "is over" if was_ready else "is over before it was ready"
    tail = _log_tail(session.record, store)
    told = [causes.advice_for(session.cause, name, over=True)] if session.cause else []
    told += [f"The last lines of its log (`rps logs {name}` shows all):\n{tail}"] if tail else []
    told.append(f"`rps why {name}` tells more.")
    raise JobError(
        f"{name} {over}: {session.reason}{cause}",
        "\n".join(filter(None, told)),
    )


def one(find: FindHere, name: str | None) -> Session:
    """One session by a prefix of its name, as it is now."""
    store = Store(paths.sessions_dir())
    record = store.find(name)
    here = find()[0] if record.ended is None else None
    return sessions.survey([record], here, store, shell.run)[0]


def visitable(store: Store, name: str | None) -> Session:
    """A session with its URL.

    Raises:
        NotFoundError: it is over.
    """
    record = store.find(name)
    session = first_sight(record, store)
    if record.ended is not None or session.url is None:
        raise NotFoundError(
            f"{record.name} is over" + (f": {record.reason}" if record.reason else ""),
            "`rps start` starts another.",
        )
    if record.own_service:  # a URL that nobody answers is no use
        client.own_endpoint()
    return session


def stop(
    find: FindHere, name: str | None, *, everything: bool
) -> tuple[list[Session], list[Exception]]:
    """Stop one session, or every one that lives: what was stopped, and why the others were not. All are
    tried, whatever becomes of the first."""
    store = Store(paths.sessions_dir())
    if everything and name is not None:
        raise UsageError(
            "--all stops every session: a name beside it says nothing", "Give one of them."
        )
    if not everything:
        record = store.find(name)
        if record.ended is not None:
            return sessions.survey([record], None, store, shell.run), []
        return [ending.stop(record, find()[0], store, shell.run)], []
    living = [record for record in store.records() if record.ended is None]
    if not living:
        return [], []
    here = find()[0]
    stopped = []
    failures: list[Exception] = []
    for record in living:
        try:
            stopped.append(ending.stop(record, here, store, shell.run))
        except (RpsError, OSError) as error:
            failures.append(error)
    return stopped, failures


def print_info(record: Record, here: Here, store: Store) -> None:
    """What `start -i` adds: the session as the scheduler has it by now, and its batch script."""
    print_session(sessions.survey([record], here, store, shell.run)[0], err=True)
    click.echo(f"{'script:':<11}{store.files(record.name).script}", err=True)
    click.echo(f"{'log:':<11}{store.files(record.name).log_file}", err=True)


def print_session(session: Session, *, err: bool = False) -> None:
    """One session, a field a line."""
    record = session.record
    created = datetime.fromtimestamp(record.created).astimezone()
    for label, value in (
        ("name", record.name),
        ("state", session.state),
        ("reason", reason_in_full(session)),
        ("advice", session.advice),
        ("cause", None if session.cause == session.state else session.cause),
        ("service", session.service_away),
        ("url", session.url),
        ("cluster", f"{record.cluster} ({record.scheduler})"),
        ("job", record.job_id),
        ("node", session.node_name or session.node),
        ("created", created.strftime("%Y-%m-%d %H:%M:%S %Z")),
        ("time left", None if session.time_left is None else duration(session.time_left)),
        ("app", record.app),
        ("directory", record.directory),
    ):
        if value:
            click.echo(f"{label + ':':<11}{plain(str(value))}", err=err)


def print_log(find: FindHere, name: str | None, *, follow: bool) -> None:
    """The job's log as far as it is written; with `follow` until the session is over."""
    store = Store(paths.sessions_dir())
    record = store.find_last(name)
    files = store.files(record.name)
    here = find()[0] if follow and record.ended is None else None
    position = 0
    next_poll = time.monotonic()
    over = here is None
    while True:
        if here is not None and time.monotonic() >= next_poll:
            # Not from its files alone: a job that was killed has written nothing of its end.
            over = sessions.survey([store.load(record.name)], here, store, shell.run)[0].over
            next_poll = time.monotonic() + here.loaded.settings.scheduler.poll_interval
        # Before a job's script has come as far as its log, its words are in Torque's spool.
        spool = files.directory / "spool.log"
        log_file = files.log_file if files.log_file.exists() else spool
        if log_file.exists():
            with log_file.open("rb") as stream:
                stream.seek(position)
                data = stream.read()
            position += len(data)
            text = data.decode("utf-8", "replace")
            # Jupyter logs what is asked of it, also by who has no token: not for a terminal to obey.
            click.echo(for_a_terminal(text) if sys.stdout.isatty() else text, nl=False)
        elif not follow:
            raise NotFoundError(
                f"{record.name} has written no log yet",
                "Its job has not started. See `rps status`.",
            )
        if over or not follow:
            return
        time.sleep(0.5)


def forwarding_command(record: Record) -> str | None:
    """The ssh command that makes a service on 127.0.0.1 reachable from where the user sits."""
    if not record.own_service or "SSH_CONNECTION" not in os.environ:
        return None
    import socket

    port = record.endpoint.port
    # The address that the user's own connection came in on is one that can be reached from there.
    connection = os.environ["SSH_CONNECTION"].split()
    link_local = len(connection) == 4 and connection[2].lower().startswith("fe80:")
    host = connection[2] if len(connection) == 4 and not link_local else socket.gethostname()
    return f"ssh -N -L {port}:127.0.0.1:{port} {login_name()}@{host}"


def _log_tail(record: Record, store: Store, lines: int = 15) -> str:
    try:
        text = store.files(record.name).log_file.read_text("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
