"""Check for the libraries that only the service needs."""

from __future__ import annotations

import importlib.util

from rps_core.errors import ServiceError

_LIBRARIES = ("aiohttp", "cryptography", "prometheus_client", "uvloop")


def require_libraries(extra: str) -> None:
    """Check that the service's libraries are installed; `extra` installs them.

    Raises:
        ServiceError: a library is missing.
    """
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        from rps_core.installation import extra_advice

        raise ServiceError(
            f"The Reverse Proxy Service cannot start: not installed here: {', '.join(missing)}.",
            extra_advice(extra),
        )
