"""Conclude the status of a job that its server no longer knows.

Torque forgets a job `keep_completed` seconds after its end (pbs_server_attributes(7B)), which a site may set
to 0; PBS forgets it at once without a history. So most jobs end that way, but a server that was renamed or
reinstalled does not know running jobs either. Other evidence decides:

- the agent, which records in events.jsonl that it ended, or never recorded that it started;
- the mother superior, which writes into the job's output that the walltime limit was reached;
- the server itself, by another command (`qselect`);
- the clock: no job runs longer than its walltime limit.

Without evidence the job stays Unknown, until its walltime limit at the latest: the reason has the time. In
the meantime the service knows from its lease whether the notebook answers.
"""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

from rps_core.plugin import (
    Gone,
    Job,
    JobStatus,
    Outcome,
    Unknown,
    session_ended,
    session_events,
    session_walltime,
)

OUTPUT = "spool.log"  # in the session's directory: the output that Torque delivers, see batch/
_SETTLING = 30.0  # seconds after a submission in which nothing is concluded
# Seconds for the event `started`: NFS shows a file up to a minute late (nfs(5)).
_NEVER_STARTED = 120.0
_ENDING = 600.0  # seconds past the walltime limit, which Torque enforces minutes late


def conclude(job: Job, second_opinion: str | None) -> JobStatus:
    """Return the status of a job that the server does not know.

    Args:
        second_opinion: a text saying that another command does not list the job either; None: the command was
            not run, or did not answer.
    """
    denial = f"the server no longer knows job {job.id}"
    if ended := session_ended(job.session_dir, denial):
        return ended
    if _walltime_was_reached(job):
        return Gone(
            outcome=Outcome.TIMEOUT, evidence=f"{denial}, and {OUTPUT} says that its walltime ended"
        )
    age = time.time() - _modified(job.session_dir / "batch.sh")
    if age < _SETTLING:
        return Unknown(reason=f"{denial}, but it was submitted moments ago")
    if second_opinion:
        return Gone(outcome=Outcome.ENDED, evidence=f"{denial}, and {second_opinion}")
    events = session_events(job.session_dir)
    started = next((event for event in events if event.get("event") == "started"), None)
    if started is None:
        if age < _NEVER_STARTED:
            return Unknown(reason=f"{denial}, and it has not started as far as its files show")
        return Gone(outcome=Outcome.ENDED, evidence=f"{denial}, and it never started")
    end = _end_of_walltime(job, started)
    if end is None:
        return Unknown(reason=f"{denial}, and there is no other evidence of its end")
    if time.time() > end + _ENDING:
        return Gone(
            outcome=Outcome.ENDED, evidence=f"{denial}, and its walltime limit has long passed"
        )
    until = datetime.fromtimestamp(end + _ENDING).astimezone()
    return Unknown(
        reason=f"{denial}, and its agent reported no end; it counts as ended from {until:%b %d %H:%M} on"
    )


def _walltime_was_reached(job: Job) -> bool:
    try:
        text = (job.session_dir / OUTPUT).read_text("utf-8", "replace")
    except OSError:
        return False
    return "PBS: job killed: walltime" in text


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _end_of_walltime(job: Job, started: dict[str, Any]) -> float | None:
    walltime = session_walltime(job.session_dir)
    return None if walltime is None else float(started["time"]) + walltime
