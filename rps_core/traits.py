"""What rps knows of a scheduler from its plugin: variables, jobs, log messages, checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from rps_core.models import CommandLine
from rps_core.node.agent.protocol import is_argv, is_programs, is_time_pattern, is_variable
from rps_core.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """A cheap read-only command that checks whether a part of the scheduler answers.

    `needed`: no session can be started or followed without it. `without` names what does not work without it.
    """

    argv: CommandLine
    needed: bool = True
    without: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandVariables:
    """How a scheduler's commands depend on the environment.

    Args:
        dropped: prefixes of variables that override options or change formats: the commands run without
            these variables.
        kept: variables that the commands need, such as the path of their configuration. Those with such a
            prefix are not dropped.
        fixed: variables that are set for the commands, with their values.
        settings: variables that set an option for the user's jobs, each with the key of the configuration
            that it sets, such as `job.account`: a layer below the user's file.
        unused: prefixes of variables of which `rps start` says that they have no effect, `settings` apart.

    Raises:
        ValueError: one of these is not a valid name of a variable, or no key `job.…`.
    """

    dropped: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key in self.settings.values():
            if not (isinstance(key, str) and key.startswith("job.")):
                raise ValueError(f"{key!r} is no key of a job")
        for name in (*self.dropped, *self.kept, *self.fixed, *self.settings, *self.unused):
            if not is_variable(name):
                raise ValueError(f"{name!r} is not a variable's name")

    def applied(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return a copy of an environment with these changes."""
        passed_on = {
            name: value
            for name, value in environment.items()
            if not name.startswith(self.dropped) or name in self.kept
        }
        return {**passed_on, **self.fixed}

    def without_effect(self, environment: Mapping[str, str]) -> list[str]:
        """Return the variables of `unused` that are set."""
        return sorted(
            name
            for name, value in environment.items()
            if value and name.startswith(self.unused) and name not in self.settings
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeQuery:
    """A command that a job runs on its node to query its remaining time.

    `{job_id}` in an argument of `argv` stands for the job's id. `pattern` is a regular expression of Python
    3.6, searched in the output (`^` and `$` match at lines). Its named groups `days`, `hours`, `minutes` and
    `seconds` are whole numbers; a missing one counts 0. `total`: the output is the job's walltime limit, not
    the time left. `path_variable` is the environment variable in which a job has the PATH of its submission,
    where the program is looked for if the node's PATH does not have it.

    Raises:
        ValueError: `argv`, `pattern` or `path_variable` is invalid.
    """

    argv: tuple[str, ...]
    pattern: str
    total: bool = False
    path_variable: str | None = None

    def __post_init__(self) -> None:
        if self.path_variable is not None and not is_variable(self.path_variable):
            raise ValueError(f"path_variable: {self.path_variable!r} is not a variable's name")
        if not is_argv(list(self.argv)):
            raise ValueError(
                f"argv: {self.argv!r} is not a command whose arguments are single lines"
            )
        if not is_time_pattern(self.pattern):
            raise ValueError(
                f"pattern: {self.pattern!r} is not a regular expression whose named groups are among "
                "days, hours, minutes and seconds"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTraits:
    """The properties of a scheduler's jobs that differ between schedulers.

    Args:
        templates: the directory of its batch scripts, `jupyterlab.sh` and `notebook.sh`; users name them
            `<scheduler>/jupyterlab.sh`. None: the plain scripts of `rps_core/batch/`,
            which start no login shell.
        job_id_variable: the environment variable that holds a job's id inside the job.
        time_query: None: a node cannot query the time left.
        walltime_can_change: an operator or the user can change the walltime limit of a running job.
        launchers: names of programs that work on other nodes of the job (`srun`): while one runs, a session
            is not idle. MPI's are built in.
        interactive_command: the command that gives a user a shell inside a job (`salloc`), for hints.
        kill_delay: the seconds from SIGTERM to SIGKILL when the scheduler ends a job, in which a session is
            ended.

    Raises:
        ValueError: `job_id_variable` or a launcher is not a valid name, or `kill_delay` is not positive.
    """

    job_id_variable: str
    templates: Path | None = None
    time_query: TimeQuery | None = None
    walltime_can_change: bool = True
    launchers: tuple[str, ...] = ()
    interactive_command: str = ""
    kill_delay: float = 30.0

    def __post_init__(self) -> None:
        if not self.kill_delay > 0:
            raise ValueError(f"kill_delay: {self.kill_delay!r} is not positive")
        if not is_variable(self.job_id_variable):
            raise ValueError(f"job_id_variable: {self.job_id_variable!r} is not a variable's name")
        if not is_programs(list(self.launchers)):
            raise ValueError(f"launchers: {self.launchers!r} are not names of programs")

    def for_the_agent(self) -> dict[str, object]:
        """Return the section `job` of launch.json, for the agent (docs/sessions.md)."""
        query = self.time_query
        return {
            "id_variable": self.job_id_variable,
            "kill_delay": self.kill_delay,
            "time_query": query
            and {
                "argv": list(query.argv),
                "pattern": query.pattern,
                "total": query.total,
                "path_variable": query.path_variable,
            },
            "walltime_can_change": self.walltime_can_change,
            "launchers": list(self.launchers),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCause:
    """A pattern of the line in a job's log that shows why the job ended.

    `cause` is a word of `rps_core.protocol.Cause`. `pattern` is a regular expression, searched
    case-insensitively in the first 1000 characters of each of the log's last lines.

    Raises:
        ValueError: `pattern` is not a regular expression.
    """

    cause: str
    pattern: str

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern: {self.pattern!r}: {error}") from None
