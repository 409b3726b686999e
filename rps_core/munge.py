"""Credentials of MUNGE, with which a user proves who it is where a service asks for that (`auth: munge`).

munge(1) and unmunge(1) take their input on stdin, so nothing of it is in a process's arguments.
"""

from __future__ import annotations

import hashlib
import subprocess

from rps_core.errors import ServiceError

_TIMEOUT = 20.0  # seconds; the daemon answers in milliseconds


def payload(host: str, content: bytes) -> bytes:
    """What a credential is made for: this one request to this service. It is good for nothing else."""
    return f"rps issue 1\n{host}\n{hashlib.sha256(content).hexdigest()}\n".encode("ascii")


def credential(host: str, content: bytes, socket: str | None) -> str:
    """A fresh credential for the request with the body `content` to the service at `host`.

    `socket` is that of the daemon, None the usual one.

    Raises:
        ServiceError: MUNGE is not installed here, or its daemon does not answer.
    """
    command = ["munge", *(("--socket", socket) if socket else ())]
    try:
        done = subprocess.run(
            command, input=payload(host, content), capture_output=True, check=True, timeout=_TIMEOUT
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else None
        reason = said.decode("utf-8", "replace").strip() if said else str(error)
        raise ServiceError(
            f"The service asks for a MUNGE credential, and `munge` makes none: {reason}",
            "Try it: `munge -n`. If that fails on a login node, tell the cluster's support; "
            "`proxy.munge_socket` names the daemon's socket where it is not the usual one.",
            code="munge-failed",
        ) from None
    return done.stdout.decode("ascii").strip()
