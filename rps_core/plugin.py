"""All that a plugin imports: the marker, the values, the errors.

    from rps_core.plugin import Claim, Cluster, Host, hookimpl

    @hookimpl
    def rps_detect_cluster(host: Host) -> Claim | None: ...

The hooks themselves are described in `rps_core.hookspecs`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rps_core.batch.render import render
from rps_core.errors import AnotherJobError, RequestRefusedError, SchedulerError, UsageError
from rps_core.hookspecs import INTERFACE, hookimpl
from rps_core.jobs import (
    Evidence,
    Gone,
    Job,
    JobPhase,
    JobStatus,
    Known,
    ObservedJob,
    Outcome,
    Submission,
    Unknown,
)
from rps_core.models import (
    Allocation,
    Claim,
    Cluster,
    Host,
    JobOrigin,
    JobRequest,
    Presence,
    RequestChange,
    SessionSpec,
    Submitted,
)
from rps_core.protocol import Cause
from rps_core.state.record import SessionRecord
from rps_core.system.complaints import complains, has_answered, quoted, without_rulers
from rps_core.system.shell import Finished, Shell
from rps_core.system.user import login_name
from rps_core.traits import CommandVariables, HealthCheck, JobTraits, LogCause, TimeQuery
from rps_core.units import format_walltime
from rps_core.values import dataclass

if TYPE_CHECKING:
    from rps_core.node.supervised import SupervisedJob as SupervisedJob

__all__ = [
    "INTERFACE",
    "Allocation",
    "AnotherJobError",
    "Cause",
    "Claim",
    "Cluster",
    "CommandVariables",
    "Evidence",
    "Finished",
    "Gone",
    "HealthCheck",
    "Host",
    "Job",
    "JobOrigin",
    "JobPhase",
    "JobRequest",
    "JobStatus",
    "JobTraits",
    "Known",
    "LogCause",
    "ObservedJob",
    "Outcome",
    "Presence",
    "RequestChange",
    "RequestRefusedError",
    "SchedulerError",
    "SessionRecord",
    "SessionSpec",
    "Shell",
    "Submission",
    "Submitted",
    "TimeQuery",
    "Unknown",
    "UsageError",
    "complains",
    "dataclass",
    "descendants",
    "format_walltime",
    "has_answered",
    "hookimpl",
    "login_name",
    "noted_job_id",
    "quoted",
    "render",
    "session_ended",
    "session_events",
    "session_gave_up",
    "session_walltime",
    "signal_process",
    "start_supervisor",
    "supervised_job",
    "supervised_jobs",
    "without_rulers",
]

# The functions below import what they need when they are called: most commands need none of it.


def session_events(session_dir: Path) -> list[dict[str, Any]]:
    """Return the events of a session's agent, the oldest first.

    They are in `events.jsonl` (docs/sessions.md). Each has `time`, in seconds since 1970, and `event`. Empty:
    the agent has written none.
    """
    from rps_core.state.session_dir import SessionFiles

    return SessionFiles(session_dir).events()


def session_ended(session_dir: Path, denial: str) -> Gone | None:
    """Return the end that a session's agent recorded, of a job that its scheduler no longer knows.

    `denial` says the latter, for the evidence. None: the agent has recorded no end.
    """
    from rps_core.state.session_dir import SessionFiles

    return SessionFiles(session_dir).end_by_its_agent(denial)


def session_gave_up(session_dir: Path) -> str | None:
    """Return the line with which the batch script ended itself before the agent; None: it did not.

    The agent's own lines begin with a time.
    """
    from rps_core.state.session_dir import SessionFiles

    lines = SessionFiles(session_dir).last_lines() or ()
    return next((line for line in reversed(lines) if line.startswith("rps: ")), None)


def session_walltime(session_dir: Path) -> float | None:
    """Return a session's walltime in seconds (`launch.json`); None: it cannot be read."""
    from rps_core.state.session_dir import SessionFiles

    return SessionFiles(session_dir).walltime()


def noted_job_id(session_dir: Path) -> str | None:
    """Return the job id that a session's job wrote itself; None: it has not started."""
    from rps_core.state.session_dir import SessionFiles

    return SessionFiles(session_dir).noted_job_id()


def descendants(pid: int) -> dict[int, int]:
    """Return the start times of the living descendants of a process, by pid.

    Both processes are on this host. A start time is in clock ticks since the boot.
    """
    from rps_core.node.agent import processes

    return processes.descendants(pid)


def signal_process(pid: int, start_time: int, number: int) -> None:
    """Send a signal to a process of this host, unless another process has its pid now.

    Args:
        start_time: in clock ticks since the boot, as `descendants` and the event `started` have it.
    """
    from rps_core.node.agent import processes

    processes.send(pid, start_time, number)


def start_supervisor(session_dir: Path, walltime: float, timeout: float) -> str:
    """Run `batch.sh` of a session's directory on this host, under a supervisor.

    The supervisor ends the job's processes.

    Args:
        walltime: seconds after which the supervisor ends the job.
        timeout: seconds for the supervisor to start.

    Returns:
        The job's id, for `supervised_job`.

    Raises:
        OSError: the session's log cannot be written, or the supervisor does not start.
    """
    from rps_core.node import supervised

    return supervised.start(session_dir, walltime, timeout)


def supervised_job(job_id: str) -> SupervisedJob | None:
    """Return the job under a supervisor by its id; None: it is no id of a supervisor."""
    from rps_core.node import supervised

    return supervised.SupervisedJob.of(job_id)


def supervised_jobs() -> list[str]:
    """Return the ids of this user's jobs under supervisors on this host."""
    from rps_core.node import supervised

    return supervised.running()
