"""Sessions in an existing allocation (salloc, srun --pty): a step of that job.

Slurm ends the step with the allocation: SIGTERM, then SIGKILL after KillWait. `srun` starts the step and is
then killed. It would run as long as the step, and would kill the step when it dies (its second process does
that) or gets SIGTERM or SIGHUP (Slurm's src/srun/libsrun/srun_job.c). If this shell is a step too, Slurm
kills such an srun at the shell's end, before the session could end in order.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from rps_core.plugin import (
    Job,
    JobOrigin,
    SchedulerError,
    SessionSpec,
    Shell,
    descendants,
    hookimpl,
    quoted,
    signal_process,
)
from rps_core.schedulers.slurm import answers, commands, refusals
from rps_core.schedulers.slurm.directives import job_name
from rps_core.schedulers.slurm.traits import CONFIGURATION

_START_TIME = 60.0  # seconds for the step to start; srun gives up sooner
_IMMEDIATE = 30
_CANCEL_TIME = 40.0
_STEP_ID = "step-id"
_SIZE = "SLURM_HET_SIZE"  # set in a heterogeneous job alone (sbatch(1), salloc(1))
_NOT_PASSED_ON = ("RPS_", "SBATCH_", "SLURM_", "SRUN_")
# $1: the session's directory, $2: the batch script. It first records the step's id, for scancel.
_STEP = """\
(umask 077 && printf '%s.%s\\n' "$SLURM_JOB_ID" "$SLURM_STEP_ID" >"$1/step-id.new") &&
mv "$1/step-id.new" "$1/step-id" &&
exec "$2" </dev/null >>"$1/job.log" 2>&1"""


@hookimpl(trylast=True)
def rps_current_job(environment: Mapping[str, str]) -> str | None:
    """Return the job id that salloc and srun export."""
    return environment.get("SLURM_JOB_ID")


@hookimpl(trylast=True)
def rps_job_origin(environment: Mapping[str, str]) -> JobOrigin | None:
    """Return what sbatch, salloc and srun export."""
    if "SLURM_JOB_ID" not in environment:
        return None
    return JobOrigin(
        submit_host=environment.get("SLURM_SUBMIT_HOST"),
        cluster_name=environment.get("SLURM_CLUSTER_NAME"),
        commands=("sbatch", "scancel", "squeue"),
    )


@hookimpl(trylast=True)
def rps_start_step(spec: SessionSpec, job_id: str, script: Path) -> bool:
    """Run the batch script as a step on the allocation's first node.

    The step gets all resources of the allocation on that node. In a heterogeneous allocation it is the
    first node of the first component.
    """
    command = ["srun", f"--jobid={job_id}", "--overlap", "--nodes=1", "--ntasks=1", "--relative=0"]
    if _SIZE in os.environ:  # without it srun finds "no directives to start application"
        command.append("--het-group=0")
    command += [f"--job-name={job_name(spec.name)}", f"--immediate={_IMMEDIATE}", "--input=none"]
    command += ["/bin/sh", "-c", _STEP, "sh", str(spec.session_dir), str(script)]
    log = spec.session_dir / "srun.log"
    pid = _in_the_background(command, log)
    started = spec.session_dir / _STEP_ID
    deadline = time.monotonic() + _START_TIME
    while not started.exists():
        ended, _ = os.waitpid(pid, os.WNOHANG)
        if ended or time.monotonic() > deadline:
            if not ended:  # this ends the step too, if it starts later
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            if started.exists():
                return True  # it started and ended between the two checks
            lines = refusals.words(log.read_text("utf-8", "replace"))
            message = quoted(lines or ["srun printed no message"])
            raise SchedulerError(
                f"Could not start a step in the allocation {job_id}:{message}",
                f"`squeue --jobs={job_id}` shows the allocation.",
                transient=not ended,
            )
        time.sleep(0.05)
    _end_without_its_step(pid)
    return True


@hookimpl(trylast=True)
def rps_end_step(job: Job, shell: Shell) -> bool:
    """Send SIGTERM to the step. Its agent ends in order, the allocation continues.

    The step of the id must have the session's name: a slurmctld that lost its state begins the ids again.
    """
    try:
        step = (job.session_dir / _STEP_ID).read_text("ascii", "replace").strip()
    except FileNotFoundError:
        return False
    if not re.fullmatch(rf"{re.escape(job.id)}\.\d+", step, re.ASCII):
        raise SchedulerError(f"{job.session_dir / _STEP_ID} contains no step of job {job.id}")
    shown = shell(*commands.step(step), timeout=_CANCEL_TIME)
    if job_name(job.session_dir.name) != answers.name_of_step(shown.stdout):
        return False  # it has ended
    done = shell("scancel", "--verbose", "--signal=TERM", step, timeout=_CANCEL_TIME)
    return done.code == 0


def _end_without_its_step(srun: int) -> None:
    """Kill srun, and before it its second process, which would end the step."""
    for pid, ticks in descendants(srun).items():
        signal_process(pid, ticks, signal.SIGKILL)
    os.kill(srun, signal.SIGKILL)
    os.waitpid(srun, 0)


def _in_the_background(command: list[str], log: Path) -> int:
    """Start a command apart from this terminal; return its pid."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_PASSED_ON) or name in CONFIGURATION
    }
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
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
            "rps needs it to start a session in an allocation.",
        ) from None
