"""A session in an interactive job (qsub -I) of Torque or PBS: a process beside the job's shell.

The job's shell runs on the job's first node, so nothing has to be sent anywhere. What is started stays in the
shell's session, by which Torque and PBS know what to end with the job (a process with a session of its own
would outlive it), but in a process group of its own and deaf to the terminal's end.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from signal import SIGTERM

from rps_core.node.agent.processes import send
from rps_core.plugin import Job, SchedulerError, SessionSpec, hookimpl
from rps_core.session_files import SessionFiles

_DEAF = """trap '' HUP; exec "$1" """


@hookimpl(trylast=True)
def rps_held_job(environment: Mapping[str, str]) -> str | None:
    """What qsub -I exports."""
    return environment.get("PBS_JOBID")


@hookimpl(trylast=True)
def rps_start_step(spec: SessionSpec, job_id: str, script: Path) -> bool:
    """Start the batch script here."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(spec.session_dir / "job.log"), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("RPS_")}
    command = ["/bin/sh", "-c", _DEAF, "sh", str(script)]
    try:
        os.posix_spawn(command[0], command, environment, file_actions=actions, setpgroup=0)
    except OSError as error:
        raise SchedulerError(
            f"The session cannot be started in {job_id}: {error.strerror}"
        ) from None
    return True


@hookimpl(trylast=True)
def rps_end_step(job: Job) -> bool:
    """TERM for the agent, where it runs on this host; elsewhere it ends by itself, its route being gone."""
    started = (e for e in SessionFiles(job.session_dir).events() if e.get("event") == "started")
    agent = next(started, None)
    if agent is None or agent.get("node") != os.uname().nodename:
        return False
    pid, ticks = agent.get("pid"), agent.get("start_time")
    if not isinstance(pid, int) or not isinstance(ticks, int):
        return False
    send(pid, ticks, SIGTERM)
    return True
