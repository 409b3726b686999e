"""The files of a user's personal service, and the service that runs on them.

They are in a node-local directory: hosts that share a home directory each run a service of their own, and
SQLite's locks are unreliable on NFS (sqlite.org/faq.html, question 5).

Standard library only: every `rps start` at a site without a service imports this.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.errors import ServiceError
from rps_core.node.agent.processes import start_ticks
from rps_core.node.agent.protocol import is_number, is_port
from rps_core.values import dataclass
from rps_proxy.private_files import create_private, read_private

if TYPE_CHECKING:
    import subprocess

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

carried_here: list[subprocess.Popen[bytes]] = []  # the services that end with this process
process_start_time = start_ticks  # None for a zombie too, which answers no requests


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


def unusable(directory: Path, error: OSError) -> ServiceError:
    """Return the error of a directory that cannot be written: of a full disk, for example."""
    return ServiceError(
        f"The personal service cannot use {directory}: {error.strerror}.",
        f"Free some space there, or set {DIRECTORY_VARIABLE}=PATH in the environment to choose another "
        "directory: on a local disk, owned by you, mode 0700.",
    )


def issue_key(directory: Path) -> str:
    """Return the key that the service requires for a new name; create it if missing."""
    path = directory / KEY_FILE
    while (key := read_private(path)) is None:
        create_private(path, os.urandom(32).hex().encode())
    return key.decode("ascii", "replace").strip()
