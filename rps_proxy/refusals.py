"""Refusals: the codes of docs/protocol.md, with HTTP status and advice."""

from __future__ import annotations

from enum import StrEnum

LONGEST_REQUEST = 16 * 1024  # bytes of a call's body
LOWEST_PORT = 1024  # of a notebook; the ports below are root's

_RETRY_AFTER = 10  # seconds


class Refusal(StrEnum):
    """A refusal's code, with the answer's `status`, `message` and `retry_after`.

    `retry_after` is in seconds; 0 where no later attempt would succeed by itself.
    """

    status: int
    message: str
    retry_after: int

    def __new__(
        cls, code: str, status: int, message: str, retry_after: int | None = None
    ) -> Refusal:
        """Make a code with what the answer says beside it."""
        refusal = str.__new__(cls, code)
        refusal._value_ = code
        refusal.status, refusal.message = status, message
        usual = _RETRY_AFTER if status in (429, 503) else 0
        refusal.retry_after = usual if retry_after is None else retry_after
        return refusal

    ALREADY_LINKED = "already-linked", 409, "This session is linked to another job."
    ALREADY_REDEEMED = (
        "already-redeemed",
        409,
        "Another job or address has already redeemed this session.",
    )
    BAD_PORT = "bad-port", 400, f"The port must be a number from {LOWEST_PORT} to 65535."
    BAD_REQUEST = "bad-request", 400, "The request is malformed: see docs/protocol.md."
    BUSY = "busy", 503, "The registry cannot be written: nothing was done. Try again later."
    DRAINING = (
        "draining",
        503,
        "The service issues no new names for now: existing sessions continue.",
    )
    EXCLUDED_ADDRESS = "excluded-address", 403, "No route may lead to this address."
    FROM_A_PAGE = "from-a-page", 403, "Web pages may not call this API."
    GONE = "gone", 410, "This session has ended."
    LIMIT = "limit", 429, "Too many names are unused: use or revoke some first."
    MUNGE_BUSY = (
        "munge-busy",
        429,
        "Too many MUNGE credentials from your address wait to be checked.",
        1,
    )
    MUNGE_EXPIRED = (
        "munge-expired",
        403,
        "The MUNGE credential has expired or is from the future: check the clocks of both hosts.",
    )
    MUNGE_INVALID = (
        "munge-invalid",
        403,
        "The MUNGE credential is damaged, or was made for another request.",
    )
    MUNGE_REPLAYED = "munge-replayed", 403, "The MUNGE credential was used before."
    MUNGE_REQUIRED = (
        "munge-required",
        401,
        "This service authenticates its users: send a MUNGE credential.",
    )
    MUNGE_UNAVAILABLE = (
        "munge-unavailable",
        503,
        "The service's MUNGE daemon does not answer: nothing was done. Try again later.",
    )
    NO_CLAIM = (
        "no-claim",
        401,
        "This call needs the session's claim, or for a new name the service's key.",
    )
    NO_SUCH_CALL = "no-such-call", 404, "Unknown call: see docs/protocol.md."
    OUTSIDE_NETWORKS = (
        "outside-networks",
        403,
        "This address is outside the networks that the service allows here.",
    )
    TOO_FAST = (
        "too-fast",
        429,
        "Too many names in a minute, for you or for all users of your address.",
    )
    TOO_LARGE = "too-large", 413, f"A request has at most {LONGEST_REQUEST} bytes."
    TOO_SLOW = "too-slow", 408, "The body of the request did not arrive in time."
    UNREACHABLE = "unreachable", 409, "The service cannot connect to the notebook."
    UNKNOWN_NAME = "unknown-name", 404, "No session has this name."
    WAY_BACK_BUSY = (
        "way-back-busy",
        503,
        "Too many notebooks of your address wait for the service to connect to them.",
        1,
    )
    WRONG_ADDRESS = "wrong-address", 403, "Another address redeemed this session."
    WRONG_CLAIM = "wrong-claim", 403, "This is not the session's claim, or not the service's key."
    WRONG_METHOD = "wrong-method", 405, "This call needs another HTTP method."


class RefusedError(Exception):
    """The rules forbid this step; `code` says which of them.

    `address`: the one that is not allowed. An agent may not know it (source NAT).
    """

    def __init__(self, code: Refusal, address: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.address = address

    @property
    def message(self) -> str:
        """Return the answer's message, with the address."""
        return self.code.message + (f" It is {self.address}." if self.address else "")


class UnreachableError(RefusedError):
    """The service cannot connect to a notebook at `tried` (address and port), for the `reason`."""

    def __init__(self, tried: str, reason: str) -> None:
        super().__init__(Refusal.UNREACHABLE)
        self.tried = tried
        self.reason = reason

    @property
    def message(self) -> str:
        """Return the answer's message, which names the address."""
        return f"The service cannot connect to {self.tried}: {self.reason}."


class BusyError(Exception):
    """The registry was not read or written: disk full or broken, no database."""
