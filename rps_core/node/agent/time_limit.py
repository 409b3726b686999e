"""When the job's time is over, as the scheduler says."""

import os
import re
from typing import Callable, List, Optional

from rps_core.node.agent.processes import start_ticks, uptime

SLACK = 2.0  # seconds by which schedulers' answers and signals are rounded


class TimeLimit:
    """When the scheduler ends the job: reckoned from the walltime, until the scheduler has been asked.

    The batch shell has become this process, so this began when the job did.
    """

    def __init__(self, walltime: Optional[float]) -> None:
        self.walltime = walltime
        self.began: Optional[float] = None  # in seconds since the boot, as `_end`
        self._end: Optional[float] = None
        ticks = start_ticks(os.getpid())
        if ticks is not None:
            self.began = ticks / os.sysconf("SC_CLK_TCK")
        if self.began is not None and walltime is not None:
            self._end = self.began + walltime

    def left(self) -> Optional[float]:
        """Seconds until then; None where that cannot be told."""
        try:
            return None if self._end is None else max(0.0, self._end - uptime())
        except (OSError, ValueError):
            return None

    def ask(self, output_of: Callable[[List[str]], Optional[str]]) -> bool:
        """Ask the scheduler, since an operator may have moved the end; true where it is known now.

        `output_of` runs a command of the scheduler and answers what it prints.
        """
        if "RPS_JOB_ID" in os.environ:  # the local scheduler's walltime stays what it was
            return self._end is not None
        if "SLURM_JOB_ID" in os.environ:
            job = os.environ["SLURM_JOB_ID"]
            said = output_of(["squeue", "--noheader", "--jobs=" + job, "--format=%L"])
            left = seconds_of((said or "").strip())
            if left is not None:
                self._end = uptime() + left
            return left is not None
        if "PBS_JOBID" in os.environ and self.began is not None:
            said = output_of(["qstat", "-f", os.environ["PBS_JOBID"]])
            found = re.search(r"^\s*Resource_List\.walltime = (\S+)$", said or "", re.MULTILINE)
            walltime = seconds_of(found.group(1)) if found else None
            if walltime is not None:
                self._end = self.began + walltime
            return walltime is not None
        return False


def seconds_of(text: str) -> Optional[float]:
    """A time as schedulers write it, [D-]HH:MM:SS or MM:SS, in seconds; None for anything else."""
    found = re.match(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d\d)$", text)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
