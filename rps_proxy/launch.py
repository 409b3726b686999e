"""Starting the service in this process: libraries, log, event loop."""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Callable
from typing import TextIO

from rps_core.errors import ServiceError
from rps_proxy.settings import Settings

_LIBRARIES = ("aiohttp", "cryptography", "uvloop", "xkcdpass")


def require_libraries(extra: str) -> None:
    """See that what the service needs is installed; `extra` is the one that brings it.

    Raises:
        ServiceError: something is missing.
    """
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise ServiceError(
            f"The Reverse Proxy Service needs {', '.join(missing)}, not installed here.",
            f"Install it with: pip install 'rps-launcher[{extra}]'",
        )


def run(
    settings: Settings,
    *,
    listener: socket.socket | None = None,
    ready: Callable[[int], None] | None = None,
    log: TextIO | None = None,
) -> None:
    """Serve until told to stop, see `server.serve`; `log` is where the log goes, if not to stderr.

    Raises:
        ServiceError, UsageError: see `server.serve`.
    """
    require_libraries("proxy")
    import uvloop

    from rps_core.log import configure
    from rps_proxy.server import serve

    levels = {"warning": 0, "info": 1, "debug": 2}
    configure(verbosity=levels[settings.log.level], log_format=settings.log.format, stream=log)
    os.umask(0o077)
    uvloop.run(serve(settings, listener=listener, ready=ready))
