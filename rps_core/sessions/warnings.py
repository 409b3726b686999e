"""Format the agent's latest walltime and idle warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rps_core.text import clock_time


def warning(events: Sequence[Mapping[str, Any]]) -> str | None:
    """Format the warnings that are in force; None: there are none.

    The text stays the same until the agent warns again.
    """
    time_up = idle = None
    for event in events:
        name = event.get("event")
        if name in ("time-left", "time-moved"):
            time_up = event if name == "time-left" else None
        elif name in ("idle-warning", "idle-over"):
            idle = event if name == "idle-warning" else None
    warnings = []
    if time_up is not None:
        warnings.append(f"it reaches its walltime limit {_when(time_up)}")
    if idle is not None:
        warnings.append(f"it is idle, and ends {_when(idle)} without activity")
    return "; ".join(warnings) or None


def unreachable(events: Sequence[Mapping[str, Any]]) -> str | None:
    """Return why the service cannot connect to the notebook; None: it could, or has not tried."""
    for event in reversed(events):
        if event.get("event") == "unreachable":
            return str(event.get("reason") or "the service cannot connect to the notebook")
        if event.get("event") in ("ready", "started"):
            return None
    return None


def building(events: Sequence[Mapping[str, Any]]) -> str | None:
    """Return what the job's build of its environment does now; None: it does not build."""
    for event in reversed(events):
        if event.get("event") == "building":
            return f"building the environment: {event.get('line') or 'begun'}"
        if event.get("event") in ("built", "application", "started"):
            return None
    return None


def _when(event: Mapping[str, Any]) -> str:
    try:
        moment = datetime.fromtimestamp(float(event["time"]) + float(event["left"]), UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return "soon"  # the agent does not know how much is left, or the file is damaged
    return f"at {clock_time(moment)}"
