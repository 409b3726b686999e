"""When the scheduler ends the job."""

import os
import re
import shutil
from typing import Any, Callable, Dict, List, Optional

from rps_core.node.agent.processes import start_ticks, uptime
from rps_core.node.agent.protocol import (
    TIME_UNITS,
    is_argv,
    is_flag,
    is_number,
    is_programs,
    is_time_pattern,
    is_variable,
)

SLACK = 2.0  # seconds by which schedulers' answers and signals are rounded


class SchedulerJob:
    """What launch.json says of the scheduler's jobs, from its plugin (`JobTraits`).

    `id` is this job's, from the variable in which its scheduler gives it; None: it is not set.

    Raises:
        ValueError, KeyError, TypeError: it is not in the form of docs/sessions.md.
    """

    def __init__(self, found: Dict[str, Any]) -> None:
        query = found["time_query"]
        if not (
            is_variable(found["id_variable"])
            and is_flag(found["walltime_can_change"])
            and is_programs(found["launchers"])
            and is_number(found.get("kill_delay", 1), 0, 1e6)
            and (query is None or is_argv(query["argv"]))
            and (query is None or is_time_pattern(query["pattern"]))
            and (query is None or is_flag(query["total"]))
            and (
                query is None
                or query.get("path_variable") is None
                or is_variable(query["path_variable"])
            )
        ):
            raise ValueError
        self.id = os.environ.get(found["id_variable"])
        self.walltime_can_change: bool = found["walltime_can_change"]
        self.launchers: List[str] = found["launchers"]
        self.kill_delay = float(found.get("kill_delay", 30.0))  # seconds from SIGTERM to SIGKILL
        self.time_query: Optional[Dict[str, Any]] = query


class TimeLimit:
    """The time when the job ends: from the walltime, then from the scheduler.

    The batch shell has become this process, so this began when the job did.
    """

    def __init__(self, walltime: Optional[float], job: SchedulerJob) -> None:
        self.walltime = walltime
        self.job = job
        self.began: Optional[float] = None  # in seconds since the boot, as `_end`
        self._end: Optional[float] = None
        ticks = start_ticks(os.getpid())
        if ticks is not None:
            self.began = ticks / os.sysconf("SC_CLK_TCK")
        if self.began is not None and walltime is not None:
            self._end = self.began + walltime

    def left(self) -> Optional[float]:
        """Return the seconds until then; None: unknown."""
        try:
            return None if self._end is None else max(0.0, self._end - uptime())
        except (OSError, ValueError):
            return None

    def now(self) -> float:
        """Return the seconds since the boot; infinite: unknown."""
        try:
            return uptime()
        except (OSError, ValueError):
            return float("inf")

    def ask(self, output_of: Callable[[List[str]], Optional[str]]) -> bool:
        """Run the scheduler's command, since an operator may have moved the end.

        Args:
            output_of: runs a command and returns its output; None: it failed.

        Returns:
            Whether the end is known for certain now.
        """
        query = self.job.time_query
        if not self.job.walltime_can_change:
            return self._end is not None
        if query is None or self.job.id is None:
            return False
        argv = [argument.replace("{job_id}", self.job.id) for argument in query["argv"]]
        argv[0] = _program(argv[0], query.get("path_variable"))
        seconds = time_in(output_of(argv) or "", query["pattern"])
        since = self.began if query["total"] else uptime()
        if seconds is None or since is None:
            return False
        self._end = since + seconds
        return True


def _program(name: str, path_variable: Optional[str]) -> str:
    """Return a program's path if only the submission's PATH has it, else its name.

    `path_variable` is the environment variable in which the scheduler passes that PATH.
    """
    if path_variable is None or shutil.which(name) is not None:
        return name
    entries = os.environ.get(path_variable, "").split(os.pathsep)
    absolute = os.pathsep.join(entry for entry in entries if os.path.isabs(entry))
    return shutil.which(name, path=absolute) or name


def time_in(text: str, pattern: str) -> Optional[float]:
    """Return the seconds in a text by the pattern's groups; None: there are none."""
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        return None
    try:
        parts = {unit: int(part) for unit, part in found.groupdict().items() if part is not None}
        return float(sum(TIME_UNITS[unit] * count for unit, count in parts.items()))
    except (ValueError, OverflowError):
        return None
