"""The process of the local service: `python -m rps_proxy.daemon DIRECTORY REPORT-DESCRIPTOR`.

Started by `local.find_or_start` alone. It reports on the descriptor once it listens, or why it cannot.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rps_core.errors import RpsError, ServiceError
from rps_core.version import __version__
from rps_proxy import local
from rps_proxy.files import write_private

if TYPE_CHECKING:
    from rps_proxy.settings import Settings

_LISTEN = 0x0A  # the state in /proc/net/tcp
MOST_LOG = 1_000_000  # bytes; as much again is kept of what came before


class BoundedLog:
    """A log file that starts anew when it has grown, and keeps one predecessor."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._open()

    def write(self, text: str) -> int:
        """Write, to the new file if the old one is full."""
        if self._file.tell() > MOST_LOG:
            with contextlib.suppress(
                FileNotFoundError
            ):  # moved already, and then the disk was full
                self._path.replace(self._path.with_suffix(".log.1"))
            old, self._file = self._file, self._open()
            old.close()
        return self._file.write(text)

    def flush(self) -> None:
        """Hand over to the system what was written."""
        self._file.flush()

    def _open(self) -> TextIO:
        return self._path.open("a", encoding="utf-8")


def main(directory: Path, report: int) -> None:
    """Serve until idle or told to stop; fails by reporting."""
    if os.fork():
        os._exit(0)  # the starter sees this end, and the service is nobody's child
    os.set_inheritable(report, False)

    def ready(port: int) -> None:
        running = local.Running(
            pid=os.getpid(),
            start_time=local.process_start_time(os.getpid()) or 0,
            port=port,
            ca_file=str(settings.ca_directory / "ca.pem"),
            version=__version__,
        )
        write_private(directory / local.RUNNING_FILE, running.to_json())
        _report(report, {})

    try:
        from rps_proxy.launch import run
        from rps_proxy.settings import load_local

        settings = load_local(directory)
        listener = _listener(directory, settings)
        log: TextIO = BoundedLog(directory / local.LOG_FILE)  # type: ignore[assignment]
        run(settings, listener=listener, ready=ready, log=log)
    except RpsError as error:
        print(f"{error.message} {error.hint}", file=sys.stderr)  # noqa: T201 - stderr is the log
        _report(report, {"error": error.message, "hint": error.hint, "kind": type(error).__name__})
        sys.exit(error.exit_code)


def _report(descriptor: int, report: dict[str, str]) -> None:
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as pipe:
            json.dump(report, pipe)
    except OSError:
        pass  # who started us has gone, or was told before


def _listener(directory: Path, settings: Settings) -> socket.socket:
    """A socket on the port that URLs in use name, else on the usual one, else on any.

    Raises:
        ServiceError: another program has the port by which notebooks that still run are reached.
    """
    from rps_proxy.listener import listen

    last = local.last(directory)
    ports = [settings.listen.port, 0] if last is None else [last.port, settings.listen.port, 0]
    for port in ports:
        try:
            return listen(settings.listen.address, port)
        except ServiceError as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno != errno.EADDRINUSE:
                raise
            if last is None or port != last.port:
                continue
            running = _running_sessions(directory)
            if running:
                raise ServiceError(
                    f"Another program took port {port}, by which notebooks of yours that still run "
                    f"on this machine are reached: {', '.join(running)}",
                    f"Find it (ss -tlnp 'sport = {port}') and have it stopped, or end those with "
                    "`rps stop`: the next `rps start` then takes another port.",
                ) from error
    raise ServiceError("No port is free on this machine.", "Try again later.", transient=True)


def _running_sessions(directory: Path) -> list[str]:
    """The names of the sessions whose notebook still runs, whether or not its lease holds."""
    from rps_proxy.registry import Registry

    path = directory / "registry.db"
    if not path.exists():
        return []
    registry = Registry(path)
    ready = registry.ready()
    registry.close()
    ports = _own_listening_ports()
    return [session.name for session in ready if session.port in ports]


def _own_listening_ports() -> set[int]:
    """The TCP ports (IPv4) on which this user's programs listen.

    Whether something takes a connection there would not do: what does may be anybody's.
    """
    ports = set()
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        _, address, _, state, _, _, _, owner, *_ = line.split()
        if int(state, 16) == _LISTEN and int(owner) == os.geteuid():
            ports.add(int(address.rpartition(":")[2], 16))
    return ports


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
