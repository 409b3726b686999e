"""Traits of Torque and PBS: variables, batch scripts, `qstat`, pbs_mom's messages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rps_core.plugin import Cause, CommandVariables, JobTraits, LogCause, TimeQuery, hookimpl

_WALLTIME = r"^\s*Resource_List\.walltime = (?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d\d)$"


@hookimpl(trylast=True)
def rps_command_variables() -> CommandVariables:
    """Return the variable that replaces `#PBS` in a script, and those that choose the server.

    They are in the section ENVIRONMENT VARIABLES of qsub(1), and in pbs_server(8) of PBS.
    """
    return CommandVariables(
        dropped=("PBS_DPREFIX",), kept=("PBS_CONF_FILE", "PBS_DEFAULT", "PBS_SERVER")
    )


# Seconds from SIGTERM to SIGKILL where neither the queue nor the server sets `kill_delay`.
TORQUE_KILL_DELAY = 2.0  # DEFAULT_KILL_DELAY in src/include/server.h of Torque 4.2 to 6.1
PBS_KILL_DELAY = 10.0  # svr_startjob() in src/server/req_runjob.c of OpenPBS 18.1 to 23.06


def job_traits(kill_delay: float) -> JobTraits:
    """Return the traits of Torque's and PBS's jobs."""
    return JobTraits(
        templates=Path(__file__).with_name("batch"),
        job_id_variable="PBS_JOBID",
        time_query=TimeQuery(
            argv=("qstat", "-f", "{job_id}"),
            pattern=_WALLTIME,
            total=True,
            path_variable="PBS_O_PATH",
        ),
        launchers=("pbsdsh",),
        interactive_command="qsub -I",
        kill_delay=kill_delay,
    )


@hookimpl(trylast=True)
def rps_log_causes() -> Sequence[LogCause]:
    """Return pbs_mom's messages in the output of a job that it kills."""
    return (
        LogCause(cause=Cause.TIME_LIMIT, pattern="PBS: job killed: walltime"),
        LogCause(cause=Cause.OUT_OF_MEMORY, pattern="PBS: job killed: p?v?mem"),
    )
