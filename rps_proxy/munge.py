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
        program = shutil.which("unmunge")
        if program is None:
            raise ServiceError(
                "`auth: munge` needs the program unmunge, which is not installed here.",
                "Install MUNGE, with the cluster's key, or set `auth: none`.",
            )
        self._command = [program, "--numeric", "--keys=STATUS,UID"]
        if settings.socket is not None:
            self._command += ["--socket", settings.socket]
        self._host = host
        self._turns = asyncio.Semaphore(AT_ONCE)

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
            status, output, errors = await self._unmunge(given.encode("ascii"))
        if 0 < status < _FIRST_OF_CREDENTIAL or status < 0:
            reason = errors.decode("utf-8", "replace").strip()
            _log.error("munge-not-answering", status=status, reason=reason)
            raise RefusedError("munge-unavailable")
        if status:
            raise RefusedError(_REFUSALS.get(status, "munge-invalid"))
        metadata = _METADATA.match(output)
        if metadata is None or int(metadata[1]):
            raise RefusedError("munge-invalid")
        if not hmac.compare_digest(output[metadata.end() :], payload(self._host, content)):
            raise RefusedError("munge-invalid")
        return await asyncio.to_thread(_name, int(metadata[2]))

    async def _unmunge(self, credential: bytes) -> tuple[int, bytes, bytes]:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(TIMEOUT):
                output, errors = await process.communicate(credential)
        except TimeoutError:
            return -1, b"", b"no answer in time"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, output, errors


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # the service's host need not know the cluster's users
        return f"uid:{uid}"
