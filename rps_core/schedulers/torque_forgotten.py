"""What to conclude of a job that its server says it does not know any more.

Torque forgets a job `keep_completed` seconds after its end, and a site may set that to 0; PBS does
without a history. That a job is not known is therefore the usual end of one; yet a server that was
renamed or set up anew says the same of jobs that run. So a second witness is wanted:

- the agent, which notes in events.jsonl that it ended, or never noted that it started;
- the mother superior, which notes in the job's output that the walltime was over;
- the server itself, asked in another way (`qselect`);
- the clock: no job outlives its walltime.

Without one the job stays Unknown, at the longest until its walltime is over: the reason says when.
Meanwhile the service knows whether the notebook answers, from its lease.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from rps_core.plugin import Gone, Job, JobStatus, Outcome, Unknown

OUTPUT = "spool.log"  # in the session's directory: what Torque itself has to say, see batch/torque/
_SETTLING = 30.0  # seconds after a submission in which nothing is concluded
_NEVER_STARTED = 120.0  # the same for "no started event": NFS shows files late, by a minute at most
_ENDING = 600.0  # past the walltime: it is enforced late, by minutes


def conclude(job: Job, second_opinion: str | None) -> JobStatus:
    """The status of a job that the server denies. `second_opinion` says, in words, that it denied the
    job in another way too; None where it was not asked, or did not answer."""
    denial = f"the server knows no job {job.id} any more"
    last = next(iter(_events(job, "ended")), None)
    if last is not None:
        code = last.get("exit_code")
        return Gone(
            outcome=Outcome.ENDED,
            evidence=f"{denial}, and its agent ended: {last.get('reason')}",
            exit_code=code if isinstance(code, int) else None,
        )
    if _walltime_was_told(job):
        return Gone(
            outcome=Outcome.TIMEOUT, evidence=f"{denial}, and {OUTPUT} says that walltime was over"
        )
    age = time.time() - _modified(job.session_dir / "batch.sh")
    if age < _SETTLING:
        return Unknown(reason=f"{denial}, but it was submitted only moments ago")
    if second_opinion:
        return Gone(outcome=Outcome.ENDED, evidence=f"{denial}, and {second_opinion}")
    started = next(_events(job, "started"), None)
    if started is None:
        if age < _NEVER_STARTED:
            return Unknown(reason=f"{denial}, and it has not started yet as far as one can see")
        return Gone(outcome=Outcome.ENDED, evidence=f"{denial}, and it never started")
    end = _end_of_walltime(job, started)
    if end is None:
        return Unknown(reason=f"{denial}, and nothing else tells what became of it")
    if time.time() > end + _ENDING:
        return Gone(outcome=Outcome.ENDED, evidence=f"{denial}, and its walltime is long over")
    until = datetime.fromtimestamp(end + _ENDING).astimezone()
    return Unknown(
        reason=f"{denial}, and its agent left no word; it counts as over from {until:%b %d %H:%M} on"
    )


def _events(job: Job, name: str) -> Iterator[dict[str, Any]]:
    try:
        text = (job.session_dir / "events.jsonl").read_text("utf-8", "replace")
    except OSError:
        return
    for line in text.split("\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue  # still being written
        if isinstance(event, dict) and event.get("event") == name:
            yield event


def _walltime_was_told(job: Job) -> bool:
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
    try:
        launch = json.loads((job.session_dir / "launch.json").read_bytes())
        return float(started["time"]) + float(launch["walltime"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
