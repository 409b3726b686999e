"""A session that is over before its notebook runs: its service answers at its URL all the same."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.fixture(scope="module")
def over(installed: Any) -> dict[str, Any]:
    """Start a session and stop it, and return what `rps start` printed of it."""
    started: dict[str, Any] = json.loads(installed.rps("start", "--no-wait", "--json").stdout)
    installed.rps("stop", started["name"])
    return started
