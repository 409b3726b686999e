"""Starting the service in this process: libraries, log, event loop."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from rps_proxy.server.libraries import require_libraries
from rps_proxy.settings.model import Settings

if TYPE_CHECKING:
    from rps_proxy.server.topologies import Topology


def run(
    settings: Settings,
    *,
    topology: Topology | None = None,
    ready: Callable[[int], None] | None = None,
    log: TextIO | None = None,
) -> None:
    """Serve until a signal or the idle time, see `serve`; `log` (default: stderr).

    Raises:
        ServiceError, UsageError: see `server.serve`.
    """
    require_libraries("proxy")
    import gc

    import uvloop

    from rps_core.log import configure
    from rps_proxy.server.serve import serve

    configure(level=settings.log.level, log_format=settings.log.format, stream=log)
    os.umask(0o077)
    # Python's own. At that of `rps`, for short commands, 2000 new sessions and 4000 connections that send no
    # TLS left 12 MB of garbage, and 2 MB at this one (Python 3.11).
    gc.set_threshold(700, 10, 10)
    uvloop.run(serve(settings, topology=topology, ready=ready))
