"""What to conclude of a job that squeue does not show and accounting does not tell the end of.

That it is not there is no evidence by itself: slurmctld forgets a job some minutes after its end
(MinJobAge), and one that was set up anew, or lost its state, forgets those that run. So a witness is
wanted: the agent, which notes its end in the session's directory, or the clock, for no job that
started outlives its walltime by much.
"""

from __future__ import annotations

import json
import time
from typing import Any

from rps_core.plugin import Gone, Job, JobStatus, Outcome, Unknown
from rps_core.session_files import SessionFiles

_ENDING = (
    3600.0  # seconds past the walltime: a site may grant more (OverTimeLimit), and clocks differ
)


def conclude(job: Job, opinion: JobStatus | None) -> JobStatus:
    """The status of a job that squeue does not show. `opinion` is what came of asking accounting, None
    where it answers and does not know the job."""
    denial = "squeue shows it no more"
    events = SessionFiles(job.session_dir).events()
    ended = _last(events, "ended")
    if ended is not None:
        code = ended.get("exit_code")
        return Gone(
            outcome=Outcome.ENDED,
            evidence=f"{denial}, and its agent said that it ended: {ended.get('reason')}",
            exit_code=code if isinstance(code, int) else None,
        )
    started = _last(events, "started")
    if started is not None and time.time() > started["time"] + _walltime(job) + _ENDING:
        return Gone(outcome=Outcome.ENDED, evidence=f"{denial}, and its walltime is long over")
    return opinion or Unknown(
        reason="neither squeue nor sacct knows it, and its agent has not said that it ended"
    )


def _last(events: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    return next((event for event in reversed(events) if event.get("event") == name), None)


def _walltime(job: Job) -> float:
    """In seconds; without an end where it cannot be read."""
    try:
        return float(json.loads((job.session_dir / "launch.json").read_bytes())["walltime"])
    except (OSError, ValueError, KeyError, TypeError):
        return float("inf")
