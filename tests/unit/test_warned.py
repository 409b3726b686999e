"""The agent's warnings, as `rps` shows them."""

from __future__ import annotations

from typing import Any

import pytest

from rps_core.warned import warning
from rps_core.wording import clock_time


def event(name: str, left: int | None = 120) -> dict[str, Any]:
    return {"event": name, "time": 1_700_000_000.0, "left": left}


def at(seconds: float) -> str:
    from datetime import UTC, datetime

    return clock_time(datetime.fromtimestamp(1_700_000_000 + seconds, UTC))


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([], None),
        ([event("ready")], None),
        ([event("time-left", 600), event("time-left")], f"its walltime is over at {at(120)}"),
        ([event("time-left", None)], "its walltime is over soon"),
        ([event("time-left"), event("time-moved", 3600)], None),
        ([event("idle-warning"), event("idle-over")], None),
        (
            [event("time-left"), event("idle-warning", 60)],
            f"its walltime is over at {at(120)}; nothing runs in it, and it ends at {at(60)} unless "
            "something does",
        ),
        ([{"event": "time-left"}], "its walltime is over soon"),
        ([{"event": "time-left", "time": 1e308, "left": 1}], "its walltime is over soon"),
    ],
)
def test_what_is_told(events: list[dict[str, Any]], told: str | None) -> None:
    assert warning(events) == told
