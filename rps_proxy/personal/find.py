"""Find or start a user's personal service, at sites without a service.

On a machine of its own it listens on 127.0.0.1, for browsers as well. On a cluster it listens on the login
node's address that compute nodes reach, for the API alone, and browsers come through ssh to a Unix socket.

Standard library only: every `rps start` on such a site imports this.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field
from pathlib import Path

from rps_core.errors import ServiceError
from rps_core.values import dataclass
from rps_proxy.lock import take
from rps_proxy.personal.running import (
    BROWSER_SOCKET,
    DIRECTORY_VARIABLE,
    DOMAIN,
    ENDS,
    LOG_FILE,
    Running,
    boot_id,
    carried_here,
    find,
    issue_key,
    last,
    process_start_time,
    service_directory,
    unusable,
)
from rps_proxy.private_files import own_directory


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
                from rps_proxy.personal.starting import start

                was_killed = not taken_over and _was_killed(directory)
                running = start(directory, on_cluster, deadline)
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
    return any(one.pid == running.pid for one in carried_here)


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
