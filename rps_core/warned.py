"""What a session's agent has warned of, in words that stay the same until it warns anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rps_core.wording import clock_time


def warning(events: Sequence[Mapping[str, Any]]) -> str | None:
    """That the walltime is over soon, or that a session where nothing runs is; None: nothing of the kind."""
    time_up = idle = None
    for event in events:
        name = event.get("event")
        if name in ("time-left", "time-moved"):
            time_up = event if name == "time-left" else None
        elif name in ("idle-warning", "idle-over"):
            idle = event if name == "idle-warning" else None
    told = []
    if time_up is not None:
        told.append(f"its walltime is over {_when(time_up)}")
    if idle is not None:
        told.append(f"nothing runs in it, and it ends {_when(idle)} unless something does")
    return "; ".join(told) or None


def _when(event: Mapping[str, Any]) -> str:
    try:
        moment = datetime.fromtimestamp(float(event["time"]) + float(event["left"]), UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return "soon"  # the agent does not know how much is left, or the file is damaged
    return f"at {clock_time(moment)}"
