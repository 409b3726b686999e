"""Sessions in an interactive job (qsub -I) of Torque or PBS.

The job's shell runs on the job's first node, so the session is a process beside it. The process stays in the
shell's POSIX session, by which Torque and PBS find what to end with the job (a process in another session
would outlive it). It has a process group of its own and ignores the end of the terminal.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from signal import SIGTERM

from rps_core.plugin import (
    Job,
    JobOrigin,
    SchedulerError,
    SessionSpec,
    hookimpl,
    session_events,
    signal_process,
)

_IGNORING_HANGUP = """trap '' HUP USR1; exec "$1" """


@hookimpl(trylast=True)
def rps_current_job(environment: Mapping[str, str]) -> str | None:
    """Return the job id that qsub -I exports."""
    return environment.get("PBS_JOBID")


def job_origin(environment: Mapping[str, str]) -> JobOrigin | None:
    """Return where a job of Torque or PBS was submitted.

    Neither says which cluster it is but by its server, whose name the job's id has as well. pbs_mom keeps the
    list of nodes on the job's first node until its end, and writes it at its start.
    """
    job_id = environment.get("PBS_JOBID")
    if job_id is None:
        return None
    node_file = Path(environment.get("PBS_NODEFILE") or os.devnull)
    try:
        runs_here, began = node_file.is_file(), node_file.stat().st_mtime
    except (OSError, ValueError):
        runs_here, began = False, 0.0
    left: timedelta | None = None
    walltime = environment.get("PBS_WALLTIME", "")  # seconds; Torque's
    if runs_here and re.fullmatch(r"[0-9]{1,9}", walltime):
        left = timedelta(seconds=max(0.0, int(walltime) - max(0.0, time.time() - began)))
    return JobOrigin(
        submit_host=environment.get("PBS_O_HOST"),
        cluster_name=environment.get("PBS_O_SERVER")
        or environment.get("PBS_SERVER")
        or job_id.partition(".")[2]
        or None,
        commands=("qdel", "qstat", "qsub"),
        runs_here=runs_here,
        time_left=left,
    )


@hookimpl(trylast=True)
def rps_start_step(spec: SessionSpec, job_id: str, script: Path) -> bool:
    """Start the batch script on this host."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(spec.session_dir / "job.log"), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("RPS_")}
    command = ["/bin/sh", "-c", _IGNORING_HANGUP, "sh", str(script)]
    try:
        os.posix_spawn(command[0], command, environment, file_actions=actions, setpgroup=0)
    except OSError as error:
        raise SchedulerError(
            f"Could not start the session in job {job_id}: {error.strerror}"
        ) from None
    return True


@hookimpl(trylast=True)
def rps_end_step(job: Job) -> bool:
    """Send SIGTERM to the agent, if it runs on this host.

    On another host it ends by itself, because its route is removed.
    """
    started = (e for e in session_events(job.session_dir) if e.get("event") == "started")
    agent = next(started, None)
    if agent is None or agent.get("node") != os.uname().nodename:
        return False
    pid, ticks = agent.get("pid"), agent.get("start_time")
    if not isinstance(pid, int) or not isinstance(ticks, int):
        return False
    signal_process(pid, ticks, SIGTERM)
    return True
