"""`rps connect` as one straight line: connect, find, choose or start, follow, open, hold the tunnel."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rps_core.connect import choice, tunnel
from rps_core.connect.answers import RemoteSession, Tunnel
from rps_core.connect.destination import Destination
from rps_core.connect.failures import SSH_FAILED, ConnectionLostError
from rps_core.connect.remote import FailedThereError, Remote, place_of
from rps_core.connect.ssh import Connection
from rps_core.errors import EXIT_INTERRUPTED, ConnectError, InterruptedByUserError, JobError
from rps_core.log import notice

_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds between attempts to connect again
_ENDS_WITHIN = 2.0  # seconds between the end of a connection and that of what shares it
_LOOK_EVERY = 1.0  # seconds between two looks at connections that are held
_ASK_EVERY = 5.0  # seconds between two questions to the service through the tunnel
_MOST_SILENT = 2  # questions without an answer until the service is started again


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the user asked for.

    Attributes:
        session: the name of the session to go on with.
        new: start one, also where one lives.
        options: the options of `rps start` for a new one, as words.
        port: the port of this computer; None: the one that the session suggests.
        terminal: whether the user can be shown a live view.
        ask: asks which session; None: the user cannot be asked.
        await_user: prints a line and waits until the user has read it; None: there is no user.
        provide: returns rps on the host, installed where it was missing.
        show: prints a session and its URL from this computer, and opens it.
    """

    session: str | None
    new: bool
    options: tuple[str, ...]
    port: int | None
    terminal: bool
    ask: choice.Ask | None
    await_user: Callable[[str], None] | None
    provide: Callable[[Remote], Remote]
    show: Callable[[RemoteSession, str], None]


def connect(destination: Destination, wish: Wish) -> None:
    """Connect to a host and bring the user to a session.

    Returns once the URL is shown if that is reached directly; else the tunnel is held until Ctrl-C.

    Raises:
        ConnectError: no connection, or no tunnel.
        FailedThereError: rps on the host refused.
        JobError: the session has ended.
        InterruptedByUserError: Ctrl-C; the session continues.
    """
    visit = _Visit(destination, wish)
    # So that the control socket is removed, also where the terminal was closed.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        with Connection(destination) as connection:
            lost = visit.on(connection)
        while lost is not None:
            with _again(destination, lost, wish.await_user) as connection:
                lost = visit.on(connection)
    except ConnectError as error:
        if visit.name is None:
            raise
        hint = f"{error.hint}\n{come_back(destination.name, visit.name)}"
        raise ConnectError(error.message, hint.strip()) from None
    except KeyboardInterrupt:
        raise InterruptedByUserError(come_back(destination.name, visit.name)) from None


def come_back(host: str, name: str | None) -> str:
    """Format what to do after Ctrl-C."""
    again = f"rps connect {shlex.quote(host)}"
    if name is None:
        return f"Interrupted. `{again} --list` shows whether a session was started."
    return (
        f"{name} continues. `{again}` goes on with it, `{again} --stop --session {name}` stops it."
    )


@contextlib.contextmanager
def _again(
    destination: Destination,
    lost: ConnectionLostError,
    await_user: Callable[[str], None] | None,
) -> Iterator[Connection]:
    """Connect again, for as long as the host cannot be reached.

    A host that asks for a password or a code asks no user who is away: some lock an account after unanswered
    questions.
    """
    notice(f"{lost.message}. Connecting again until it succeeds, or Ctrl-C.")
    tries = 0
    while True:
        time.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
        tries += 1
        try:
            connection = Connection(destination, again=True)
        except ConnectError as error:
            if error.transient:
                continue
            if await_user is None:
                raise
            await_user(f"{error.message}. Press Enter to log in again")
            connection = Connection(destination)
        with connection:
            yield connection
        return


def _viewed(remote: Remote, name: str) -> bool:
    """Show a session's progress by the live view of the host until it is ready.

    Returns:
        Whether the host let it be shown.

    Raises:
        JobError: it is not ready, as the view says.
        KeyboardInterrupt: the user ended the view.
    """
    code = remote.connection.interactive(f"exec {remote.script('wait', name)} >/dev/null")
    if code is None:
        notice(
            f"{remote.name} allows one session on a connection (MaxSessions 1): the progress comes in lines."
        )
        return False
    if code == SSH_FAILED and remote.connection.await_end(_ENDS_WITHIN):
        raise remote.connection.lost()
    # ssh has that code, too, for a command that a signal ended: Ctrl-C while rps starts there.
    if code in (EXIT_INTERRUPTED, SSH_FAILED):
        raise KeyboardInterrupt
    if code != 0:
        raise JobError(f"{name} is not ready", f"`rps connect {remote.name} --list` shows it.")
    return True


class _Visit:
    """The way to one session, over one connection after the other."""

    def __init__(self, destination: Destination, wish: Wish) -> None:
        self._destination, self._wish = destination, wish
        self._port = wish.port
        self._shown: str | None = None
        self.name: str | None = None

    def on(self, connection: Connection) -> ConnectionLostError | None:
        """Go the way on a connection; return the error if it was lost, None at the way's end."""
        try:
            remote = self._wish.provide(Remote.find(connection))
            session = self._session(remote)
            self.name = session.name
            session = self._followed(remote, self._awake(remote, session))
            carried: RemoteSession | None = session
            while carried is not None:
                carried = self._carry(remote, carried)
        except ConnectionLostError as error:
            if self.name is None:
                raise ConnectError(error.message, come_back(self._destination.name, None)) from None
            return error
        return None

    def _session(self, remote: Remote) -> RemoteSession:
        if self.name is not None:
            return remote.status(self.name)
        wish = self._wish
        chosen = None
        if not wish.new:
            chosen = choice.choose(remote.sessions(), remote.name, name=wish.session, ask=wish.ask)
        if chosen is None:
            chosen = remote.start(wish.options)
            notice(f"{chosen.name}: started on {chosen.fields['cluster']}")
        else:
            notice(choice.line(chosen))
        return chosen

    def _awake(self, remote: Remote, session: RemoteSession) -> RemoteSession:
        """Return the session with its service running, which another login node may have to start."""
        if session.tunnel is None or session.state not in ("unknown", "lapsed"):
            return session
        with self._service_host(remote, session.tunnel) as service_host:
            self._revive(remote, service_host, session)
        return remote.status(session.name)

    def _followed(self, remote: Remote, session: RemoteSession) -> RemoteSession:
        """Show the session's progress until it is ready.

        Raises:
            JobError: it has ended.
        """
        name = session.name
        if session.state != "ready" and not session.over:
            if not (self._wish.terminal and _viewed(remote, name)):
                remote.wait(name)
            session = remote.status(name)
        if session.over:
            raise JobError(session.end, f"`rps connect {shlex.quote(remote.name)}` starts another.")
        return session

    @contextlib.contextmanager
    def _service_host(self, remote: Remote, found: Tunnel) -> Iterator[Connection]:
        """Connect to the login node of the service, through the one that was reached if that is another."""
        if found.is_on(remote.host):
            yield remote.connection
            return
        notice(f"The service runs on {found.host}: connecting to it through {remote.name}.")
        there = Destination(name=found.host, ssh=f"{remote.user}@{found.host}")
        with Connection(there, through=remote.connection) as connection:
            yield connection

    def _carry(self, remote: Remote, session: RemoteSession) -> RemoteSession | None:
        """Show the session; hold its tunnel, if it needs one.

        Returns:
            The session, where its service has moved; None: there is nothing more to do.
        """
        if session.only_there:
            raise ConnectError(
                f"{session.name} is reached on {remote.name} alone: it has no cluster, and its service is "
                "for browsers of that host",
                "`rps url --ssh` there prints the ssh command that forwards its port.",
            )
        if session.tunnel is None:
            if self._wish.port is not None:
                notice(f"--port has no effect: {session.name} needs no tunnel.")
            self._show(remote, session, None)
            return None
        with self._service_host(remote, session.tunnel) as service_host:
            port = tunnel.open_port(
                service_host, session.tunnel.socket, self._port or session.tunnel.port,
                firm=self._wish.port is not None,
            )  # fmt: skip
            self._port = port
            host = session.host
            if tunnel.phase(port, host) is None:
                runs = self._revive(remote, service_host, session)
                tunnel.check(service_host, port, host, runs=runs)
            self._show(remote, session, port)
            found = self._hold(remote, service_host, session, port)
            tunnel.close_port(service_host, session.tunnel.socket, port)
            return found

    def _hold(
        self, remote: Remote, service_host: Connection, session: RemoteSession, port: int
    ) -> RemoteSession | None:
        """Hold the tunnel until a connection ends, the session ends, or its service has moved.

        Returns:
            The session if its service has moved, None if it has ended.

        Raises:
            ConnectionLostError: a connection has ended.
        """
        connections = {id(one): one for one in (service_host, remote.connection)}.values()
        silent, asked = 0, time.monotonic()
        while True:
            if any(one.await_end(_LOOK_EVERY / len(connections)) for one in connections):
                raise remote.connection.lost()
            if time.monotonic() - asked < _ASK_EVERY:
                continue
            phase, asked = tunnel.phase(port, session.host), time.monotonic()
            silent = silent + 1 if phase is None else 0
            if silent >= _MOST_SILENT:
                notice(f"The personal service does not answer: starting it again on {remote.name}.")
                self._revive(remote, service_host, session)
                silent = 0
            elif phase not in ("ended", "unknown"):
                continue
            now = remote.status(session.name)
            if now.over:
                notice(now.end)
                return None
            if now.tunnel != session.tunnel:
                return now

    def _revive(self, remote: Remote, service_host: Connection, session: RemoteSession) -> bool:
        """Have rps start the personal service again, if it has ended; return whether it runs."""
        there = remote if service_host is remote.connection else Remote.find(service_host)
        try:
            there.revive(session.name)
        except FailedThereError:  # the session has ended, or worse; its words are printed
            return False
        return True

    def _show(self, remote: Remote, session: RemoteSession, port: int | None) -> None:
        if session.url is None:
            return
        place = place_of(session.url if port is None else str(session.url_at(port)))
        if place == self._shown:
            notice(f"The tunnel to {session.name} is open again.")
            return
        session = remote.opened_by_a_link(session)
        url = str(session.url if port is None else session.url_at(port))
        self._shown = place
        self._wish.show(session, url)
        if port is not None:
            notice(
                f"The tunnel is open until Ctrl-C. {session.name} continues then, and `rps connect "
                f"{shlex.quote(self._destination.name)}` goes on with it."
            )
