"""MUNGE: the user of a request, by a credential that the user's host made.

unmunge(1) has this host's daemon decode it: the daemon refuses one that was changed, has expired, or was
decoded here before.
"""

from __future__ import annotations

import asyncio
import hmac
import pwd
import re
import shutil

from rps_core.errors import ServiceError
from rps_core.log import get_logger
from rps_core.protocol import munge_payload
from rps_proxy.control.turns import FairTurns
from rps_proxy.refusals import Refusal, RefusedError
from rps_proxy.settings.sections import Munge as Settings

HEADER = "X-Rps-Munge"
LONGEST = 4096  # characters
AT_ONCE = 8  # processes; the daemon has a fixed number of threads (munged(8), --num-threads)
MOST_WAITING = 256  # credentials of one address, which take seconds to check
TIMEOUT = 10.0  # seconds
PATIENCE = 5.0  # seconds for the daemon to answer a readiness check

_FORM = re.compile(r"MUNGE:[A-Za-z0-9+/=]+:")
_METADATA = re.compile(rb"STATUS:\s+(\d+)\nUID:\s+(\d+)\n\n")
# unmunge's exit statuses (munge.h, munge_err_t): from this one on for the credential, below for the daemon.
_FIRST_OF_CREDENTIAL = 8
_REFUSALS = {15: Refusal.MUNGE_EXPIRED, 16: Refusal.MUNGE_EXPIRED, 17: Refusal.MUNGE_REPLAYED}

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
        self._turns = FairTurns(AT_ONCE, MOST_WAITING, Refusal.MUNGE_BUSY)
        self._answers = True  # as last logged

    async def answers(self) -> bool:
        """Return whether the daemon answers, and log a change.

        The check makes a credential and discards it: the daemon logs an error for each that it cannot decode.
        """
        status, _, errors = await _done(self._make, None, PATIENCE)
        if self._answers and status:
            _log.error("munge-not-answering", **_failure(status, errors))
        elif not self._answers and not status:
            _log.info("munge-answers")
        self._answers = not status
        return self._answers

    async def user(self, credentials: list[str], content: bytes, source: str) -> str:
        """Return the user who made the credential: a name, else `uid:NUMBER`.

        Each check is a process; the callers' addresses take turns.

        Args:
            credentials: The values of the header field.
            content: The request's body, which the credential must be for.
            source: The caller's address.

        Raises:
            RefusedError: `munge-required`, `-invalid`, `-expired`, `-replayed`, `-unavailable`, or
                `munge-busy`: too many credentials of that address wait to be checked.
        """
        if not credentials:
            raise RefusedError(Refusal.MUNGE_REQUIRED)
        given = credentials[0]
        if len(credentials) > 1 or len(given) > LONGEST or not _FORM.fullmatch(given):
            raise RefusedError(Refusal.MUNGE_INVALID)
        async with self._turns.of(source):
            status, output, errors = await _done(self._read, given.encode("ascii"), TIMEOUT)
        if 0 < status < _FIRST_OF_CREDENTIAL or status < 0:
            _log.error("munge-not-answering", **_failure(status, errors))
            raise RefusedError(Refusal.MUNGE_UNAVAILABLE)
        if status:
            raise RefusedError(_REFUSALS.get(status, Refusal.MUNGE_INVALID))
        metadata = _METADATA.match(output)
        if metadata is None or int(metadata[1]):
            raise RefusedError(Refusal.MUNGE_INVALID)
        if not hmac.compare_digest(output[metadata.end() :], munge_payload(self._host, content)):
            raise RefusedError(Refusal.MUNGE_INVALID)
        return await asyncio.to_thread(_name, int(metadata[2]))


def _installed(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        raise ServiceError(
            f"Cannot use `auth: munge`: the program {name} is not installed here.",
            "Install MUNGE and the cluster's key, or set `auth: none`.",
        )
    return program


async def _done(
    command: list[str], given: bytes | None, seconds: float
) -> tuple[int, bytes, bytes]:
    """Run a program; return exit status (-1: it took longer), stdout and stderr.

    Not through `rps_core.system.shell`, which blocks its thread: several of these run beside the traffic.
    """
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
    except KeyError:  # a user of the cluster without an account on this host
        return f"uid:{uid}"
