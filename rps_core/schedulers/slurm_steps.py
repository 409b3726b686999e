"""A session in an allocation that the user holds (salloc, srun --pty): a step of that job.

Slurm ends the step with the allocation: TERM, and what is left after KillWait gets KILL. `srun` starts it and
is ended then. It would stay for as long as its step does, and take that along with KILL when it dies itself
(its second process sees to that) or gets TERM or HUP (Slurm's src/srun/libsrun/srun_job.c): and where this
shell is a step, too, Slurm kills it at the shell's end, before the session was told to end.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from rps_core.node.agent.processes import descendants, send
from rps_core.plugin import Job, SchedulerError, SessionSpec, Shell, hookimpl
from rps_core.schedulers.slurm_directives import job_name

_START_TIME = 60.0  # seconds until the step must have started; srun itself gives up sooner
_IMMEDIATE = 30
_CANCEL_TIME = 40.0
_STEP_ID = "step-id"
_NOT_PASSED_ON = ("RPS_", "SBATCH_", "SLURM_", "SRUN_")
# $1: the session's directory, $2: the batch script. The step's id first: it is what ends it.
_STEP = """\
(umask 077 && printf '%s.%s\\n' "$SLURM_JOB_ID" "$SLURM_STEP_ID" >"$1/step-id.new") &&
mv "$1/step-id.new" "$1/step-id" &&
exec "$2" </dev/null >>"$1/job.log" 2>&1"""


@hookimpl(trylast=True)
def rps_held_job(environment: Mapping[str, str]) -> str | None:
    """What salloc and srun export."""
    return environment.get("SLURM_JOB_ID")


@hookimpl(trylast=True)
def rps_start_step(spec: SessionSpec, job_id: str, script: Path) -> bool:
    """The batch script as a step on the allocation's first node, with all that the allocation has there."""
    command = ["srun", f"--jobid={job_id}", "--overlap", "--nodes=1", "--ntasks=1", "--relative=0"]
    command += [f"--job-name={job_name(spec.name)}", f"--immediate={_IMMEDIATE}", "--input=none"]
    command += ["/bin/sh", "-c", _STEP, "sh", str(spec.session_dir), str(script)]
    said = spec.session_dir / "srun.log"
    pid = _in_the_background(command, said)
    started = spec.session_dir / _STEP_ID
    deadline = time.monotonic() + _START_TIME
    while not started.exists():
        ended, _ = os.waitpid(pid, os.WNOHANG)
        if ended or time.monotonic() > deadline:
            if not ended:  # and the step with it, should it come after all
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            if started.exists():
                return True  # it has run, and ended, between the two looks
            lines = said.read_text("utf-8", "replace").strip().splitlines()
            told = lines[-1] if lines else "srun said nothing"
            raise SchedulerError(
                f"No step could be started in the allocation {job_id}: {told}",
                f"`squeue --jobs={job_id}` shows the allocation.",
                transient=not ended,
            )
        time.sleep(0.05)
    _end_without_its_step(pid)
    return True


@hookimpl(trylast=True)
def rps_end_step(job: Job, shell: Shell) -> bool:
    """TERM for the step, which its agent ends on in good order. The allocation is not touched."""
    try:
        step = (job.session_dir / _STEP_ID).read_text("ascii", "replace").strip()
    except FileNotFoundError:
        return False
    if not re.fullmatch(rf"{re.escape(job.id)}\.\d+", step, re.ASCII):
        raise SchedulerError(f"{job.session_dir / _STEP_ID} is damaged: no step of {job.id}")
    done = shell("scancel", "--verbose", "--signal=TERM", step, timeout=_CANCEL_TIME)
    return done.code == 0


def _end_without_its_step(srun: int) -> None:
    """End srun, and before it its second process, which would end the step."""
    for pid, ticks in descendants(srun).items():
        send(pid, ticks, signal.SIGKILL)
    os.kill(srun, signal.SIGKILL)
    os.waitpid(srun, 0)


def _in_the_background(command: list[str], said: Path) -> int:
    """Start it with nothing of this terminal's, and answer its pid."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_PASSED_ON) or name == "SLURM_CONF"
    }
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(said), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    try:
        return os.posix_spawnp(
            command[0], command, environment, file_actions=actions, setsid=True,
            setsigdef=[signal.SIGINT, signal.SIGHUP, signal.SIGTERM],
        )  # fmt: skip
    except FileNotFoundError:
        raise SchedulerError(
            "`srun` is not on the PATH of this host",
            "It is what starts something in an allocation.",
        ) from None
