"""The process of a personal service: `python -m rps_proxy.personal.daemon`.

Arguments: its `Order`, in JSON, and the descriptor on which it reports that it listens, or why it cannot.
Only `find.find_or_start` starts it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import signal
import socket
import sys
from dataclasses import dataclass, replace
from logging.handlers import RotatingFileHandler
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, NoReturn, TextIO

from rps_core.errors import RpsError, ServiceError, UsageError
from rps_core.system.paths import sessions_dir
from rps_core.version import __version__
from rps_proxy.personal import running as local
from rps_proxy.private_files import write_private

if TYPE_CHECKING:
    from rps_proxy.registry.session import Session
    from rps_proxy.settings.model import Settings

_LISTEN = 0x0A  # the state in /proc/net/tcp
MOST_LOG = 1_000_000  # bytes, and as many in the file before, `service.log.1`


@dataclass(frozen=True, slots=True)
class Order:
    """What the service is started for; see `find.OnCluster`.

    `browsers` is the path of the browsers' socket; None: they connect to the address.
    """

    directory: Path
    address: str
    browsers: str | None = None
    sessions: tuple[str, ...] = ()
    idle: float | None = None
    carried: bool = False

    @classmethod
    def read(cls, text: str) -> Order:
        """Return the order that the starter wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "directory": Path(fields["directory"])})


class RotatingLog(RotatingFileHandler):
    """A log file of limited size, as the stream that `rps_core.log` writes to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=MOST_LOG, backupCount=1, encoding="utf-8")

    def write(self, text: str) -> int:
        """Write one line, to a new file if the current one is full.

        Raises:
            OSError: it could not be written; `rps_core.log` counts the lines that are lost.
        """
        self.emit(logging.makeLogRecord({"msg": text.removesuffix("\n")}))
        return len(text)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - its interface
        """Raise the error of `emit`, which the standard handler would only print."""
        raise


def main(order: Order, report: int) -> None:
    """Serve until idle or a signal; report a failure to the starter."""
    directory = order.directory
    if not order.carried:
        if os.fork():
            os._exit(0)  # the starter waits for this process; init adopts the service
        # systemd-logind sends it with SIGTERM at a logout (systemd.kill(5), SendSIGHUP=).
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.set_inheritable(report, False)
    running: list[local.Running] = []

    def ready(port: int) -> None:
        running.append(
            local.Running(
                pid=os.getpid(),
                start_time=local.process_start_time(os.getpid()) or 0,
                port=port,
                ca_file=str(settings.ca_directory / "ca.pem"),
                version=__version__,
                address=order.address,
                host=_host_name() if order.browsers else "",
                boot=local.boot_id(),
            )
        )
        write_private(directory / local.RUNNING_FILE, running[0].to_json())
        _report(report, {})
        if order.carried:
            Thread(target=_end_with_the_carrier, daemon=True).start()

    try:
        from rps_proxy.personal.settings import load
        from rps_proxy.server.run import run
        from rps_proxy.server.topologies import InProcess, Topology, Tunnelled

        settings = load(
            directory, order.address, on_cluster=order.browsers is not None, idle=order.idle
        )
        listener = _listener(order, settings)
        topology: Topology = (
            Tunnelled(listener, Path(order.browsers), sessions_dir())
            if order.browsers
            else InProcess(listener)
        )
        log: TextIO = RotatingLog(directory / local.LOG_FILE)  # type: ignore[assignment]
        run(settings, topology=topology, ready=ready, log=log)
    except RpsError as error:
        _fail(report, error)
    except OSError as error:
        if running:  # a defect: it had started
            raise
        _fail(report, local.unusable(directory, error))
    _note_the_end(order, running[0])


def _fail(report: int, error: RpsError) -> NoReturn:
    """Report why it cannot start, and end."""
    with contextlib.suppress(OSError):  # the disk may be full; stderr is the log
        print(f"{error.message} {error.hint}", file=sys.stderr)  # noqa: T201
    kind = UsageError if isinstance(error, UsageError) else type(error)
    _report(report, {"error": error.message, "hint": error.hint, "kind": kind.__name__})
    sys.exit(error.exit_code)


def _note_the_end(order: Order, running: local.Running) -> None:
    """Note that it ended by itself; not of a signal that came while it had sessions."""
    if order.carried:
        ended = "carrier"
    elif not _unfinished(order.directory):
        ended = "idle"
    else:
        return
    with contextlib.suppress(OSError):  # a full disk; the next start then takes it for killed
        write_private(order.directory / local.RUNNING_FILE, replace(running, ended=ended).to_json())


def _end_with_the_carrier() -> None:
    """End this process once the one that started it has ended, which closes our standard input."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _host_name() -> str:
    """Return this host's name, in full where its resolver knows that.

    A login node's resolver answers; that of a laptop without a network may take ten seconds.
    """
    name, full = socket.gethostname(), socket.getfqdn()
    return full if full.startswith(f"{name}.") else name


def _report(descriptor: int, report: dict[str, str]) -> None:
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as pipe:
            json.dump(report, pipe)
    except OSError:
        pass  # the starter has ended, or got a report before


def _listener(order: Order, settings: Settings) -> socket.socket:
    """Listen on the port that URLs in use contain, else the configured one, else any.

    Raises:
        ServiceError: another program has the port by which notebooks that still run are reached.
    """
    from rps_proxy.http.listeners import listen, take_connections

    last = local.last(order.directory)
    # On a login node the configured port is mostly another user's; ephemeral ports begin at 32768 (ip(7)).
    ports = [settings.listen.port, 20_000 + os.geteuid() % 10_000, 0]
    for port in ports if last is None else [last.port, *ports]:
        try:
            listener = listen(settings.listen.address, port)
            take_connections(listener)
        except ServiceError as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno != errno.EADDRINUSE:
                raise
            if last is None or port != last.port:
                continue
            running = _reached_by_the_port(order)
            if running:
                raise ServiceError(
                    f"The personal service cannot start: another program uses its port {port}, by which your "
                    f"running notebooks are reached: {', '.join(running)}.",
                    f"Find the program (`ss -tlnp 'sport = {port}'`) and stop it, or end the notebooks with "
                    "`rps stop`: the next `rps start` then takes another port.",
                ) from error
        else:
            return listener
    raise ServiceError(
        "The personal service cannot start: no port is free on this machine.",
        "Try again later.",
        transient=True,
    )


def _reached_by_the_port(order: Order) -> list[str]:
    """Return the sessions whose notebook runs, lapsed ones included, or whose job may start one.

    On a cluster the launcher knows them: the jobs run on other hosts.
    """
    unfinished = _unfinished(order.directory)
    if order.browsers:
        living = set(order.sessions)
        return [session.name for session in unfinished if session.name in living]
    ports = _own_listening_ports()
    return [session.name for session in unfinished if session.port in ports]


def _unfinished(directory: Path) -> list[Session]:
    """Return the sessions of the registry that have not ended."""
    from rps_proxy.registry.registry import Registry
    from rps_proxy.registry.session import Phase

    path = directory / "registry.db"
    if not path.exists():
        return []
    registry = Registry(path)
    found = registry.every([Phase.ISSUED, Phase.LINKED, Phase.READY])
    registry.close()
    return found


def _own_listening_ports() -> set[int]:
    """Return the TCP ports (IPv4) on which this user's programs listen.

    A connection would not show that: another user's program may listen there.
    """
    ports = set()
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        _, address, _, state, _, _, _, owner, *_ = line.split()
        if int(state, 16) == _LISTEN and int(owner) == os.geteuid():
            ports.add(int(address.rpartition(":")[2], 16))
    return ports


if __name__ == "__main__":
    main(Order.read(sys.argv[1]), int(sys.argv[2]))
