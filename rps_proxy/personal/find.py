"""Find or start a user's personal service, at sites without a service.

On a machine of its own it listens on 127.0.0.1, for browsers as well. On a cluster it listens on the login
node's address that compute nodes reach, for the API alone, and browsers come through ssh to a Unix socket.

Its files are in a node-local directory: hosts that share a home directory each run a service of their own,
and SQLite's locks are unreliable on NFS (sqlite.org/faq.html, question 5).

Standard library only: every `rps start` on such a site imports this.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field
from pathlib import Path
from typing import Any

from rps_core.errors import ServiceError, UsageError
from rps_core.node.agent.processes import start_ticks
from rps_core.node.agent.protocol import is_number, is_port
from rps_core.node.own_process import module_command
from rps_core.values import dataclass
from rps_proxy.lock import take
from rps_proxy.private_files import create_private, own_directory, read_private

ADDRESS = "127.0.0.1"
DOMAIN = "rps.localhost"
DIRECTORY_VARIABLE = "RPS_LOCAL_SERVICE_DIR"
CLUSTER_DIRECTORY = "cluster"  # of the service on a cluster, below: both kinds may run on a host
BROWSER_SOCKET = "browser.sock"
RUNNING_FILE = "service.json"
LOG_FILE = "service.log"
KEY_FILE = "issue.key"

# How a service notes that it ended: without sessions, or with the process that carried it.
ENDS = ("idle", "carrier")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_carried: list[subprocess.Popen[bytes]] = []

process_start_time = start_ticks  # None for a zombie too, which answers no requests

# The variables that the service's process inherits: paths and locale, no secrets.
_KEPT_VARIABLES = (
    "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "PYTHONHOME", "PYTHONPATH",
    "PYTHONUSERBASE", "TZ", "USER", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
    "XDG_STATE_HOME",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a personal service; `ca_file`: the CA of its certificate, PEM.

    `issue_key` is a secret: every user of the host can connect, only its owner may start sessions.
    `browsers` is the Unix socket for browsers; None: they connect to the address too. `host` is this host's
    full name, as far as it is known.
    """

    domain: str
    address: str
    port: int
    ca_file: Path
    issue_key: str = field(repr=False)
    host: str
    browsers: Path | None = None
    # The one before it was killed, and not by a restart of the host.
    was_killed: bool = field(default=False, compare=False)
    carried: bool = field(default=False, compare=False)  # it ends with this process
    taken_over: bool = field(default=False, compare=False)  # and ran in the background before


@dataclass(frozen=True, slots=True)
class OnCluster:
    """How a personal service of a login node is started.

    `address` returns the login node's address that compute nodes reach, and `sessions` the names of the
    user's living sessions there; they are only called if the service has to be started. `idle` is the
    time without sessions after which it ends, in seconds; None: as its settings say. `carried`: it ends with
    this process, and one that runs in the background is started again so.
    """

    address: Callable[[], str]
    sessions: Callable[[], Sequence[str]] = tuple
    idle: float | None = None
    carried: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A personal service's file on itself. `start_time`: clock ticks since boot, whose id is `boot`.

    `ended`, once it has ended by itself: a word of `ENDS`.
    """

    pid: int
    start_time: int
    port: int
    ca_file: str
    version: str
    address: str = ADDRESS
    host: str = ""
    boot: str = ""
    ended: str = ""

    def to_json(self) -> bytes:
        """Return the content of the file."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps(fields).encode()


def find_or_start(on_cluster: OnCluster | None = None, timeout: float = 20.0) -> Endpoint:
    """Find the personal service, or start it, in at most `timeout` seconds.

    `on_cluster`: a login node's; None: that of a machine of its own, on 127.0.0.1.

    Raises:
        ServiceError: it could not be started; says why, and what to do.
        UsageError: the user's proxy.yaml is wrong.
    """
    deadline = time.monotonic() + timeout
    directory = service_directory(on_cluster=on_cluster is not None)
    try:
        return _found_or_started(directory, on_cluster, deadline)
    except OSError as error:
        raise unusable(directory, error) from None


def unusable(directory: Path, error: OSError) -> ServiceError:
    """Return the error of a directory that cannot be written: of a full disk, for example."""
    return ServiceError(
        f"The personal service cannot use {directory}: {error.strerror}.",
        f"Free some space there, or set {DIRECTORY_VARIABLE}=PATH in the environment to choose another "
        "directory: on a local disk, owned by you, mode 0700.",
    )


def _found_or_started(directory: Path, on_cluster: OnCluster | None, deadline: float) -> Endpoint:
    _make_directory(directory)
    key = issue_key(directory)
    running = find(directory)
    was_killed = taken_over = False
    if running is None or _is_to_be_taken_over(running, on_cluster):
        with _alone(directory, deadline):
            running = find(directory)
            if running is not None and _is_to_be_taken_over(running, on_cluster):
                _end(running, deadline)
                running, taken_over = None, True
            if running is None:
                was_killed = not taken_over and _was_killed(directory)
                running = _start(directory, on_cluster, deadline)
    return Endpoint(
        domain=DOMAIN,
        address=running.address,
        port=running.port,
        ca_file=Path(running.ca_file),
        issue_key=key,
        host=running.host,
        browsers=directory / BROWSER_SOCKET if on_cluster else None,
        was_killed=was_killed,
        carried=_is_carried_here(running),
        taken_over=taken_over,
    )


def _is_carried_here(running: Running) -> bool:
    return any(one.pid == running.pid for one in _carried)


def _is_to_be_taken_over(running: Running, on_cluster: OnCluster | None) -> bool:
    """Return whether this process is to carry a service that runs in the background."""
    if on_cluster is None or not on_cluster.carried or _is_carried_here(running):
        return False
    try:
        # A pipe: it is carried by another command, and ends with that.
        return not os.readlink(f"/proc/{running.pid}/fd/0").startswith("pipe:")  # noqa: PTH115
    except OSError:
        return False


def _end(running: Running, deadline: float) -> None:
    """End a service; its sessions continue, and the next one on its directory has their routes.

    Raises:
        ServiceError: it does not end in time.
    """
    with suppress(ProcessLookupError):
        os.kill(running.pid, signal.SIGTERM)
    while process_start_time(running.pid) == running.start_time:
        if time.monotonic() > deadline:
            raise ServiceError(
                "The personal service that runs in the background did not end in time.",
                f"End it (`kill -KILL {running.pid}`; your sessions continue), and try again.",
            )
        time.sleep(0.05)


def service_directory(*, on_cluster: bool = False) -> Path:
    """Return RPS_LOCAL_SERVICE_DIR, or a directory in /var/tmp, kept at reboots.

    `on_cluster`: the one of the service on a cluster's login node, which is below.
    """
    chosen = os.environ.get(DIRECTORY_VARIABLE)
    # Absolute: the service itself runs in /.
    path = Path(chosen).absolute() if chosen else Path(f"/var/tmp/rps-{os.geteuid()}")  # noqa: S108
    return path / CLUSTER_DIRECTORY if on_cluster else path


def find(directory: Path) -> Running | None:
    """Return the service that runs on `directory` and takes connections, or None."""
    running = last(directory)
    if running is None or process_start_time(running.pid) != running.start_time:
        return None
    try:
        socket.create_connection((running.address, running.port), timeout=2).close()
    except OSError:
        return None
    return running


def last(directory: Path) -> Running | None:
    """Return the service that last ran on `directory`, running or not."""
    content = read_private(directory / RUNNING_FILE)
    try:
        running = None if content is None else Running(**json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return None  # of another version of rps; the file is only a hint
    if running is None or not (
        is_number(running.pid, 1, 1 << 31)
        and is_number(running.start_time, 0, 1e18)
        and is_port(running.port)
        and isinstance(running.ca_file, str)
        and isinstance(running.version, str)
        and isinstance(running.address, str)
        and isinstance(running.host, str)
        and isinstance(running.boot, str)
        and isinstance(running.ended, str)
    ):
        return None
    return running


def boot_id() -> str:
    """Return the id of this host's boot; empty: the kernel does not say."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


def _was_killed(directory: Path) -> bool:
    """Return whether the service that last ran was killed, or ended by a signal while it had sessions."""
    running = last(directory)
    return running is not None and running.boot == boot_id() and running.ended not in ENDS


def _make_directory(directory: Path) -> None:
    """Create the directory; an error names another way: any user may own its path."""
    try:
        own_directory(service_directory())  # the parent of a login node's
        own_directory(directory)
    except ServiceError as error:
        raise ServiceError(
            error.message,
            f"{error.hint} Set {DIRECTORY_VARIABLE}=PATH in the environment to choose another: "
            "on a local disk, owned by you, mode 0700.",
        ) from error


def issue_key(directory: Path) -> str:
    """Return the key that the service requires for a new name; create it if missing."""
    path = directory / KEY_FILE
    while (key := read_private(path)) is None:
        create_private(path, os.urandom(32).hex().encode())
    return key.decode("ascii", "replace").strip()


def _start(directory: Path, on_cluster: OnCluster | None, deadline: float) -> Running:
    from rps_proxy.server.libraries import require_libraries

    require_libraries("proxy" if on_cluster else "local")
    order: dict[str, Any] = {"directory": str(directory), "address": ADDRESS}
    carried = on_cluster is not None and on_cluster.carried
    if on_cluster:
        order |= {
            "address": on_cluster.address(),
            "browsers": str(directory / BROWSER_SOCKET),
            "sessions": list(on_cluster.sessions()),
            "idle": on_cluster.idle,
            "carried": carried,
        }
    reader, writer = os.pipe()
    log = os.open(
        directory / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600
    )
    try:
        module = module_command("rps_proxy.personal.daemon")
        command = [*module, json.dumps(order), str(writer)]
        starter = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if carried else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            pass_fds=[writer],
            start_new_session=True,
            umask=0o077,
        )
        os.close(writer)
        report = _read_report(reader, directory, deadline)
        if carried and "error" not in report:
            _carried.append(starter)  # it is the service, and ends when its input does
        else:
            starter.wait()  # it forked the service and ended
    finally:
        os.close(log)
        os.close(reader)
    if "error" in report:
        kind = UsageError if report.get("kind") == UsageError.__name__ else ServiceError
        raise kind(report["error"], report["hint"])
    running = find(directory)
    if running is None:
        raise ServiceError(
            "The personal service ended immediately after its start.",
            f"See {directory / LOG_FILE}.",
        )
    return running


def _read_report(reader: int, directory: Path, deadline: float) -> dict[str, str]:
    """Read the report: `{}` once it listens, or `error`, `hint` and `kind`."""
    report = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            error = "The personal service did not start in time."
            return {"error": error, "hint": "The machine may be overloaded; try again."}
        part = os.read(reader, 65536)
        if not part:
            break
        report += part
    try:
        return dict(json.loads(report))
    except ValueError:
        hint = f"See {directory / LOG_FILE}."
        return {"error": "The personal service failed to start.", "hint": hint}


@contextmanager
def _alone(directory: Path, deadline: float) -> Iterator[None]:
    """Let one process at a time start the service."""
    handle = os.open(directory / "start.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        take(
            handle,
            ServiceError(
                "The personal service did not start: another process holds the start lock.",
                f"See {directory / LOG_FILE} and try again.",
                transient=True,
            ),
            deadline,
        )
        yield
    finally:
        os.close(handle)
