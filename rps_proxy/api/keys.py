"""Shared keys and bearer secrets of requests."""

from __future__ import annotations

import hmac
from pathlib import Path

from aiohttp import web

from rps_core.errors import ServiceError
from rps_core.log import get_logger
from rps_proxy.private_files import read_key
from rps_proxy.refusals import Refusal, RefusedError

_log = get_logger("rps.keys")


class SharedKey:
    """A key in a file (mode 0600) that a request must send.

    Raises:
        ServiceError: the file holds no key for `use`. The start fails then, not only the first call.
    """

    def __init__(self, path: Path, use: str) -> None:
        self._path = path
        self._use = use
        read_key(path, use)

    def check(self, request: web.BaseRequest) -> None:
        """Check the key of a request. Refused: `no-claim`, `wrong-claim`."""
        given = bearer(request)
        try:
            # At each call: the operator may replace it.
            key = read_key(self._path, self._use)
        except ServiceError as error:
            _log.error("key-not-read", reason=error.message)
            raise RefusedError(Refusal.WRONG_CLAIM) from None
        if not hmac.compare_digest(key, given.encode()):
            raise RefusedError(Refusal.WRONG_CLAIM)


def bearer(request: web.BaseRequest) -> str:
    """Return the secret in `Authorization`. Refused: `no-claim`, `wrong-claim`."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        raise RefusedError(Refusal.NO_CLAIM)
    if not secret.isascii():
        raise RefusedError(Refusal.WRONG_CLAIM)
    return secret
