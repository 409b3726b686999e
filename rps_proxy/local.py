"""The service of one user on one machine, for sites without a service: found, or started.

Its files lie in a node-local directory, since a home directory may be shared by machines that each
run their own, and may be NFS, where SQLite's locks cannot be trusted.

Standard library only: every `rps start` on such a site imports this.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rps_core.errors import ServiceError, UsageError
from rps_core.node.agent.processes import start_ticks
from rps_proxy.files import create_private, own_directory, read_private

ADDRESS = "127.0.0.1"
DOMAIN = "rps.localhost"
DIRECTORY_VARIABLE = "RPS_LOCAL_SERVICE_DIR"
RUNNING_FILE = "service.json"
LOG_FILE = "service.log"
KEY_FILE = "issue.key"

process_start_time = start_ticks  # None for a zombie, too: it serves nobody

# What the service's process keeps of the starter's environment: where things are, and no secrets.
_KEPT_VARIABLES = (
    "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "PYTHONHOME", "PYTHONPATH",
    "PYTHONUSERBASE", "TZ", "USER", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the local service is reached; `ca_file` holds the CA of its certificate, PEM.

    `issue_key` is a secret: every user of the machine reaches the service, and it tells them apart by it.
    """

    domain: str
    port: int
    ca_file: Path
    issue_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Running:
    """What a local service says of itself in its directory. `start_time`: ticks since boot."""

    pid: int
    start_time: int
    port: int
    ca_file: str
    version: str

    def to_json(self) -> bytes:
        """As it is written into the directory."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps(fields).encode()


def find_or_start(timeout: float = 20.0) -> Endpoint:
    """The user's own service, started if it does not run; at most `timeout` seconds.

    Raises:
        ServiceError: it could not be started; says why, and what to do.
        UsageError: the user's proxy.yaml is wrong.
    """
    deadline = time.monotonic() + timeout
    directory = _directory()
    key = _issue_key(directory)
    running = find(directory)
    if running is None:
        with _alone(directory, deadline):
            running = find(directory) or _start(directory, deadline)
    return Endpoint(DOMAIN, running.port, Path(running.ca_file), key)


def service_directory() -> Path:
    """The node-local directory: RPS_LOCAL_SERVICE_DIR, or one below /var/tmp, which boots survive."""
    chosen = os.environ.get(DIRECTORY_VARIABLE)
    if chosen:
        return Path(chosen).absolute()  # the service itself runs in /
    return Path(f"/var/tmp/rps-{os.geteuid()}")  # noqa: S108 - see files


def find(directory: Path) -> Running | None:
    """The service that runs on `directory` and takes connections, or None."""
    running = last(directory)
    if running is None or process_start_time(running.pid) != running.start_time:
        return None
    try:
        socket.create_connection((ADDRESS, running.port), timeout=2).close()
    except OSError:
        return None
    return running


def last(directory: Path) -> Running | None:
    """The service that ran last on `directory`, whether or not it still does."""
    content = read_private(directory / RUNNING_FILE)
    try:
        return None if content is None else Running(**json.loads(content))
    except (ValueError, TypeError):
        return None  # of another version of rps; what it says is only a help


def _directory() -> Path:
    """The directory, ours alone. Anybody may have taken its usual place: the way out is told."""
    path = service_directory()
    try:
        return own_directory(path)
    except ServiceError as error:
        raise ServiceError(
            error.message,
            f"{error.hint} Another is chosen with {DIRECTORY_VARIABLE}=PATH in the environment: "
            "on a disk of this machine, yours, mode 0700.",
        ) from error


def _issue_key(directory: Path) -> str:
    """The key that the service asks for before it gives a name; made where there is none."""
    path = directory / KEY_FILE
    while (key := read_private(path)) is None:
        create_private(path, os.urandom(32).hex().encode())
    return key.decode("ascii", "replace").strip()


def _start(directory: Path, deadline: float) -> Running:
    from rps_proxy.launch import require_libraries

    require_libraries("local")
    reader, writer = os.pipe()
    log = os.open(
        directory / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600
    )
    try:
        # -P: nothing is imported from the directory that it happens to run in.
        command = [sys.executable, "-P", "-m", "rps_proxy.daemon", str(directory), str(writer)]
        starter = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            pass_fds=[writer],
            start_new_session=True,
            umask=0o077,
        )
        os.close(writer)
        report = _read_report(reader, deadline)
        starter.wait()  # it has long left a child of its own behind and ended
    finally:
        os.close(log)
        os.close(reader)
    if "error" in report:
        kind = UsageError if report.get("kind") == UsageError.__name__ else ServiceError
        raise kind(report["error"], report["hint"])
    running = find(directory)
    if running is None:
        raise ServiceError(
            "The local service ended as soon as it had started.", f"See {directory / LOG_FILE}."
        )
    return running


def _read_report(reader: int, deadline: float) -> dict[str, str]:
    """What the new service reports: `{}` once it listens, or `error`, `hint` and `kind`."""
    report = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            error = "The local service did not start in time."
            return {"error": error, "hint": "The machine may be overloaded; try again."}
        part = os.read(reader, 65536)
        if not part:
            break
        report += part
    try:
        return dict(json.loads(report))
    except ValueError:
        hint = f"See {service_directory() / LOG_FILE}."
        return {"error": "The local service failed to start.", "hint": hint}


@contextmanager
def _alone(directory: Path, deadline: float) -> Iterator[None]:
    """Let one process at a time start the service."""
    handle = os.open(directory / "start.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServiceError(
                        "Another process has been starting the local service for too long.",
                        f"See {directory / LOG_FILE}, and try again.",
                        transient=True,
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(handle)
