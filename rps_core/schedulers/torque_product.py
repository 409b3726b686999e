"""Which product's `qsub` and `qstat` these are: Torque and PBS share the names, not the answers."""

from __future__ import annotations

from rps_core.plugin import SchedulerError, Shell


def scheduler_of_qstat(shell: Shell) -> str:
    """`pbs` for PBS Pro and OpenPBS, else `torque`, which reads Slurm's wrappers too.

    PBS prints `pbs_version = 23.06.06`, Torque `Version: 6.1.3`; the wrappers know no such option.
    What cannot be asked is taken for Torque.
    """
    try:
        done = shell("qstat", "--version")
    except SchedulerError:
        return "torque"
    return "pbs" if "pbs_version" in done.stdout + done.stderr else "torque"
