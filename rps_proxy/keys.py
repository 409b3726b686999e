"""What a request shows to be let in."""

from __future__ import annotations

import hmac
from pathlib import Path

from aiohttp import web

from rps_core.errors import ServiceError
from rps_core.log import get_logger
from rps_proxy.files import read_key
from rps_proxy.group_commit import RefusedError

_log = get_logger("rps.keys")


class SharedKey:
    """A key in a file (mode 0600) that whoever asks for something must show.

    Raises:
        ServiceError: the file holds none; `use` says what for. Else nobody would hear of a mistake before
            the first call.
    """

    def __init__(self, path: Path, use: str) -> None:
        self._path = path
        self._use = use
        read_key(path, use)

    def check(self, request: web.BaseRequest) -> None:
        """Refused: `no-claim`, `wrong-claim`."""
        given = bearer(request)
        try:
            # Read each time, since it may be made anew.
            key = read_key(self._path, self._use)
        except ServiceError as error:
            _log.error("key-not-read", reason=error.message)
            raise RefusedError("wrong-claim") from None
        if not hmac.compare_digest(key, given.encode()):
            raise RefusedError("wrong-claim")


def bearer(request: web.BaseRequest) -> str:
    """What stands in `Authorization`: ASCII, not empty. Refused: `no-claim`, `wrong-claim`."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        raise RefusedError("no-claim")
    if not secret.isascii():
        raise RefusedError("wrong-claim")
    return secret
