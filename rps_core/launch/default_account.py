"""The user's default account, cached for a day: scheduler accounting is slow."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from rps_core.models import Cluster
from rps_core.system import cache, paths

DAY = 86400


def account(cluster: Cluster) -> tuple[str, datetime] | None:
    """Return the cached account with the time of the query, or None."""
    found: Any = cache.read_object(_file()).get(cluster.name)
    try:
        asked = float(found["asked"])
        if 0 <= time.time() - asked < DAY and found["uid"] == os.getuid():
            return _word(found["account"]), datetime.fromtimestamp(asked).astimezone()
    except (TypeError, KeyError, ValueError):
        pass  # not cached, or by another version
    return None


def _word(account: Any) -> str:
    """Return a cached account, which an earlier version may have stored unchecked.

    Raises:
        ValueError: it is not one printable word.
    """
    if not isinstance(account, str) or len(account.split()) != 1 or not account.isprintable():
        raise ValueError(account)
    return account


def remember(cluster: Cluster, name: str) -> None:
    """Cache an account. A write failure only causes another query."""
    known = {"account": name, "asked": time.time(), "uid": os.getuid()}
    cache.put(_file(), cluster.name, known)


def forget(cluster: Cluster) -> None:
    """Remove the cached account, after a rejected job: it may be outdated."""
    cache.drop(_file(), cluster.name)


def _file() -> Path:
    return paths.cache_dir() / "accounts.json"
