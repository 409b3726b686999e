"""Services that were found to be satellites, cached for a day: each start then makes one call, not two."""

from __future__ import annotations

import time
from pathlib import Path

from rps_core.state.record import Endpoint
from rps_core.system import cache, paths

DAY = 86400  # seconds; the service may become one of rps


def is_satellite(endpoint: Endpoint) -> bool:
    """Return whether the service at this host and port was a satellite within the last day."""
    found = cache.read_object(_file()).get(_key(endpoint))
    return isinstance(found, int | float) and 0 <= time.time() - found < DAY


def remember(endpoint: Endpoint) -> None:
    """Cache that a service is a satellite. A write failure only causes another call."""
    cache.put(_file(), _key(endpoint), int(time.time()))


def forget(endpoint: Endpoint) -> None:
    """Remove a service from the cache."""
    cache.drop(_file(), _key(endpoint))


def _key(endpoint: Endpoint) -> str:
    return f"{endpoint.host}:{endpoint.port}"


def _file() -> Path:
    return paths.cache_dir() / "satellites.json"
