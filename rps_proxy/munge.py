"""Who asks for a name, proved by MUNGE: a credential that the user's host made and this host's daemon reads.

The program unmunge(1) asks the daemon: it refuses what was changed, is too old, or was read here before.
"""

from __future__ import annotations

import asyncio
import hmac
import pwd
import re
import shutil

from rps_core.errors import ServiceError
from rps_core.log import get_logger
from rps_core.munge import payload
from rps_proxy.group_commit import RefusedError
from rps_proxy.settings import Munge as Settings

HEADER = "X-Rps-Munge"
LONGEST = 4096  # characters
AT_ONCE = 8  # programs; more would only wait for the daemon
TIMEOUT = 10.0  # seconds
PATIENCE = 5.0  # seconds, to find out whether the daemon is there

_FORM = re.compile(r"MUNGE:[A-Za-z0-9+/=]+:")
_METADATA = re.compile(rb"STATUS:\s+(\d+)\nUID:\s+(\d+)\n\n")
# unmunge's exit status, munge.h's munge_err_t: these are about the credential, those below about the daemon.
_FIRST_OF_CREDENTIAL = 8
_REFUSALS = {15: "munge-expired", 16: "munge-expired", 17: "munge-replayed"}

_log = get_logger("rps.munge")


class Munge:
    """Reads credentials for the service at `host`.

    Raises:
        ServiceError: unmunge is not installed.
    """

    def __init__(self, settings: Settings, host: str) -> None:
        socket = [] if settings.socket is None else ["--socket", settings.socket]
        self._read = [_installed("unmunge"), "--numeric", "--keys=STATUS,UID", *socket]
        self._make = [_installed("munge"), "--no-input", *socket]
        self._host = host
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._answers = True  # as far as was said

    async def answers(self) -> bool:
        """Whether the daemon is there. What changed is logged.

        It is asked for a credential, which is good for nothing: of one that it cannot read it would say so in
        its own log.
        """
        status, _, errors = await _done(self._make, None, PATIENCE)
        if self._answers and status:
            _log.error("munge-not-answering", **_failure(status, errors))
        elif not self._answers and not status:
            _log.info("munge-answers")
        self._answers = not status
        return self._answers

    async def user(self, credentials: list[str], content: bytes) -> str:
        """Who made the credential for the request with the body `content`: a name, else `uid:NUMBER`.

        Raises:
            RefusedError: `munge-required`, `-invalid`, `-expired`, `-replayed`, or `-unavailable`.
        """
        if not credentials:
            raise RefusedError("munge-required")
        given = credentials[0]
        if len(credentials) > 1 or len(given) > LONGEST or not _FORM.fullmatch(given):
            raise RefusedError("munge-invalid")
        async with self._turns:
            status, output, errors = await _done(self._read, given.encode("ascii"), TIMEOUT)
        if 0 < status < _FIRST_OF_CREDENTIAL or status < 0:
            _log.error("munge-not-answering", **_failure(status, errors))
            raise RefusedError("munge-unavailable")
        if status:
            raise RefusedError(_REFUSALS.get(status, "munge-invalid"))
        metadata = _METADATA.match(output)
        if metadata is None or int(metadata[1]):
            raise RefusedError("munge-invalid")
        if not hmac.compare_digest(output[metadata.end() :], payload(self._host, content)):
            raise RefusedError("munge-invalid")
        return await asyncio.to_thread(_name, int(metadata[2]))


def _installed(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        raise ServiceError(
            f"`auth: munge` needs the program {name}, which is not installed here.",
            "Install MUNGE, with the cluster's key, or set `auth: none`.",
        )
    return program


async def _done(
    command: list[str], given: bytes | None, seconds: float
) -> tuple[int, bytes, bytes]:
    """The program's exit status, -1 where it took longer, and what it printed on stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            output, errors = await process.communicate(given)
    except TimeoutError:
        return -1, b"", b"no answer in time"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output, errors


def _failure(status: int, errors: bytes) -> dict[str, object]:
    return {"status": status, "reason": errors.decode("utf-8", "replace").strip()}


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # the service's host need not know the cluster's users
        return f"uid:{uid}"
