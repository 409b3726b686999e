"""Start the process of a personal service."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rps_core.errors import ServiceError, UsageError
from rps_core.node.own_process import module_command
from rps_proxy.personal.running import (
    ADDRESS,
    BROWSER_SOCKET,
    LOG_FILE,
    Running,
    carried_here,
    find,
)

if TYPE_CHECKING:
    from rps_proxy.personal.find import OnCluster

# The variables that the service's process inherits: paths and locale, no secrets.
_KEPT_VARIABLES = (
    "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "PYTHONHOME", "PYTHONPATH",
    "PYTHONUSERBASE", "TZ", "USER", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
    "XDG_STATE_HOME",
)  # fmt: skip


def start(directory: Path, on_cluster: OnCluster | None, deadline: float) -> Running:
    """Start the service on `directory`.

    Raises:
        ServiceError, UsageError: it does not start; as it reports.
    """
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
            carried_here.append(starter)  # it is the service, and ends when its input does
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
