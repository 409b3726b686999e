"""The agent's warnings, as `rps` shows them."""

from __future__ import annotations

from typing import Any

import pytest

from rps_core.sessions.warnings import warning
from rps_core.text import clock_time


def event(name: str, left: int | None = 120) -> dict[str, Any]:
    return {"event": name, "time": 1_700_000_000.0, "left": left}


def at(seconds: float) -> str:
    from datetime import UTC, datetime

    return clock_time(datetime.fromtimestamp(1_700_000_000 + seconds, UTC))


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([], None),
        ([event("ready")], None),
        (
            [event("time-left", 600), event("time-left")],
            f"it reaches its walltime limit at {at(120)}",
        ),
        ([event("time-left", None)], "it reaches its walltime limit soon"),
        ([event("time-left"), event("time-moved", 3600)], None),
        ([event("idle-warning"), event("idle-over")], None),
        (
            [event("time-left"), event("idle-warning", 60)],
            f"it reaches its walltime limit at {at(120)}; it is idle, and ends at {at(60)} "
            "without activity",
        ),
        ([{"event": "time-left"}], "it reaches its walltime limit soon"),
        ([{"event": "time-left", "time": 1e308, "left": 1}], "it reaches its walltime limit soon"),
    ],
)
def test_what_is_printed(events: list[dict[str, Any]], message: str | None) -> None:
    assert warning(events) == message
