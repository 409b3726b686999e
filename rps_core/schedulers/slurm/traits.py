"""Slurm's traits: variables, batch scripts, `squeue`, slurmstepd's messages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rps_core.plugin import Cause, CommandVariables, JobTraits, LogCause, TimeQuery, hookimpl

# %L: [D-]HH:MM:SS or MM:SS; UNLIMITED, NOT_SET and INVALID are no time (squeue(1)).
_LEFT = r"^(?:(?:(?P<days>\d+)-)?(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d\d)\s*$"

# Where Slurm's commands find their configuration; the second on login nodes without a slurm.conf.
CONFIGURATION = ("SLURM_CONF", "SLURM_CONF_SERVER")
# sbatch(1), INPUT ENVIRONMENT VARIABLES: those whose option is a key of the configuration.
_OPTIONS = {
    "SBATCH_ACCOUNT": "job.account",
    "SBATCH_CONSTRAINT": "job.constraint",
    "SBATCH_PARTITION": "job.partition",
    "SBATCH_QOS": "job.qos",
    "SBATCH_RESERVATION": "job.reservation",
    "SBATCH_TIMELIMIT": "job.walltime",
}


@hookimpl(trylast=True)
def rps_command_variables() -> CommandVariables:
    """Return the variables that set options and formats of Slurm's commands.

    They are in the section ENVIRONMENT of each command's manual page. Those that set an option of sbatch for
    all jobs of the user count as configuration.
    """
    return CommandVariables(
        dropped=(
            "SACCT_", "SALLOC_", "SBATCH_", "SCANCEL_", "SCONTROL_", "SINFO_", "SLURM_", "SQUEUE_", "SRUN_",
        ),
        kept=CONFIGURATION,
        fixed={"SLURM_TIME_FORMAT": "standard"},
        settings=_OPTIONS,
        unused=("SALLOC_", "SBATCH_", "SLURM_CLUSTERS"),
    )  # fmt: skip


@hookimpl(trylast=True)
def rps_job_traits() -> JobTraits:
    """Return the traits of Slurm's jobs."""
    return JobTraits(
        templates=Path(__file__).with_name("batch"),
        job_id_variable="SLURM_JOB_ID",
        time_query=TimeQuery(
            argv=("squeue", "--noheader", "--jobs={job_id}", "--format=%L"), pattern=_LEFT
        ),
        launchers=("srun",),
        interactive_command="salloc",
    )


@hookimpl(trylast=True)
def rps_log_causes() -> Sequence[LogCause]:
    """Return the messages of slurmstepd and slurmd.

    They are in Slurm's src/slurmd/slurmstepd/mgr.c and req.c.
    """
    return (
        LogCause(cause=Cause.TIME_LIMIT, pattern="DUE TO TIME LIMIT"),
        LogCause(cause=Cause.NODE_FAILURE, pattern="CANCELLED AT .* DUE TO NODE FAILURE"),
        LogCause(cause=Cause.PREEMPTED, pattern="DUE TO PREEMPTION"),
        LogCause(
            cause=Cause.OUT_OF_MEMORY,
            pattern=r"slurmstepd.*(?:oom[-_ ]kill|exceeded (?:job )?memory limit)",
        ),
    )
