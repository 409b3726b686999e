"""MUNGE credentials, which prove the user to a service with `auth: munge`.

munge(1) and unmunge(1) take their input on stdin, so nothing of it is in a process's arguments.
"""

from __future__ import annotations

import re

from rps_core.errors import SchedulerError, ServiceError
from rps_core.protocol import munge_payload
from rps_core.system.shell import run

_TIMEOUT = 20.0  # seconds; the daemon answers in milliseconds


def credential(host: str, content: bytes, socket: str | None) -> str:
    """Return a fresh credential for one request to the service.

    Args:
        host: the service's host name.
        content: the request's body.
        socket: the daemon's socket; None: MUNGE's default.

    Raises:
        ServiceError: MUNGE is not installed here, or its daemon does not answer.
    """
    options = ("--socket", socket) if socket else ()
    payload = munge_payload(host, content).decode("ascii")
    try:
        done = run("munge", *options, stdin=payload, timeout=_TIMEOUT)
        failure = (done.stderr.strip() or f"exit code {done.code}") if done.code else ""
    except SchedulerError as error:
        failure = error.message
    if failure:
        raise ServiceError(
            f"The service requires a MUNGE credential, but `munge` failed: {failure}",
            "Try it: `munge -n`. If that fails on a login node, inform the cluster's support; "
            "`proxy.munge_socket` names the daemon's socket where it is not the usual one.",
            code="munge-failed",
        )
    found = done.stdout.strip()
    if not re.fullmatch("MUNGE:[A-Za-z0-9+/=]+:", found):  # it goes into a header's field
        raise ServiceError(
            "The service requires a MUNGE credential, but the output of `munge` is not one",
            "Run `munge -n` to test it, and check that no other program of that name is on the PATH.",
            code="munge-failed",
        )
    return found
