"""The user's default account, remembered for a day: asking a scheduler's accounting is slow."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from rps_core import cache, paths
from rps_core.models import Cluster

DAY = 86400


def account(cluster: Cluster) -> tuple[str, datetime] | None:
    """The account and when it was asked for; None where it is not known, or not any more."""
    found: Any = _read().get(cluster.name)
    try:
        asked = float(found["asked"])
        if 0 <= time.time() - asked < DAY and found["uid"] == os.getuid():
            return str(found["account"]), datetime.fromtimestamp(asked).astimezone()
    except (TypeError, KeyError, ValueError):
        pass  # never noted, or by another version: it is asked again
    return None


def remember(cluster: Cluster, name: str) -> None:
    """Note an answer. What cannot be written is asked for again, no more."""
    _write({**_read(), cluster.name: {"account": name, "asked": time.time(), "uid": os.getuid()}})


def forget(cluster: Cluster) -> None:
    """The scheduler refused a job: perhaps because of what was remembered."""
    known = _read()
    if known.pop(cluster.name, None) is not None:
        _write(known)


def _file() -> Path:
    return paths.cache_dir() / "accounts.json"


def _read() -> dict[str, Any]:
    try:
        found = json.loads(_file().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(known: dict[str, Any]) -> None:
    cache.replace(_file(), json.dumps(known))
