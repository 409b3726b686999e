"""Find the cause of a session's state or end, and the lines that show it.

Pure: from `Facts`, which `rps_core.sessions.explain` collects from the scheduler, the agent's events and the
job's log, to a `Cause` and its evidence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from rps_core.jobs import Evidence, Gone, JobPhase, JobStatus, Known, Outcome, Unknown
from rps_core.protocol import Cause, EndCause
from rps_core.values import dataclass

if TYPE_CHECKING:
    from rps_core.traits import LogCause

_LINES = 5  # of the log, and of any other one source
_LONGEST = 1000  # characters of a line that are searched: a cell may print a line of any length

_BY_OUTCOME = {
    Outcome.TIMEOUT: Cause.TIME_LIMIT,
    Outcome.OUT_OF_MEMORY: Cause.OUT_OF_MEMORY,
    Outcome.NODE_FAILED: Cause.NODE_FAILURE,
    Outcome.PREEMPTED: Cause.PREEMPTED,
}
# Messages in a job's log, searched after the scheduler's (`Facts.scheduler_log`); the first match counts.
# Those of rps begin with "rps: ".
_LOG = (
    (
        Cause.NO_MODULE,
        r"rps: the module .* could not be loaded|rps: there is no module command|module\(s\) are unknown"
        r"|cannot be loaded as requested|Unable to locate a modulefile",
    ),
    (
        Cause.NO_ENVIRONMENT,
        r"rps: (?:conda does not activate|there is no conda)|EnvironmentNameNotFound"
        r"|Not a conda environment|Could not find conda environment",
    ),
    (Cause.NO_PYTHON, r"rps: this node has no Python"),
    (Cause.FILES_UNSEEN, r"^rps: .* is not yours on this node"),
    (Cause.DISK_FULL, r"No space left on device|Disk quota exceeded"),
    (Cause.KILLED, r"MemoryError|Out of memory"),
    (Cause.NO_JUPYTER, r"Jupyter command `[^`]+` not found|No module named '?(?:jupyter|notebook)"),
)
# Jupyter logs each request that it refuses, and any browser can send one: no evidence.
_REQUEST = re.compile(r"\[[IWEC] [0-9:. -]+ \w+\] [1-5]\d\d [A-Z]+ ")
# These explain an end only if the agent has written no event.
_BEFORE_THE_AGENT = frozenset(
    {Cause.NO_MODULE, Cause.NO_ENVIRONMENT, Cause.NO_PYTHON, Cause.FILES_UNSEEN}
)
# These explain an end only if nothing else does: a cell may print such a line and continue.
_WEAK = frozenset({Cause.KILLED, Cause.DISK_FULL, Cause.NO_JUPYTER})

# The agent's last event: its `cause`, and a part of its `reason`.
_AGENT = (
    (EndCause.START_FAILED, r"^The application ", Cause.APPLICATION_FAILED),
    (
        EndCause.START_FAILED,
        r"There is no program|is not executable|its interpreter",
        Cause.NO_JUPYTER,
    ),
    (EndCause.START_FAILED, r"^The notebook directory", Cause.NO_DIRECTORY),
    (EndCause.START_FAILED, r"^No port is free|took each of", Cause.PORT_TAKEN),
    (EndCause.START_FAILED, r"was not published|overrides it", Cause.JUPYTER_OPEN),
    (EndCause.START_FAILED, r"No space left|quota", Cause.DISK_FULL),
    (EndCause.START_FAILED, r"A defect in the agent", Cause.DEFECT),
    (EndCause.START_FAILED, r"killed by signal 9", Cause.KILLED),
    (EndCause.START_FAILED, r"ended before it answered", Cause.JUPYTER_FAILED),
    (
        EndCause.REFUSED,
        r"\((?:bad-port|outside-networks|wrong-address|excluded-address)\)",
        Cause.PORT_REFUSED,
    ),
    (EndCause.REFUSED, r"", Cause.REFUSED_BY_SERVICE),
    (EndCause.TIMEOUT, r"", Cause.JUPYTER_SILENT),
    (EndCause.UNREACHABLE, r"", Cause.NODE_UNREACHABLE),
    (EndCause.REVOKED, r"", Cause.REVOKED),
    (EndCause.REMOVED, r"", Cause.FILES_GONE),
    (EndCause.TIME_LIMIT, r"", Cause.TIME_LIMIT),
    (EndCause.IDLE, r"", Cause.IDLE),
    (EndCause.APPLICATION_EXIT, r"killed by signal 9", Cause.KILLED),
    (EndCause.APPLICATION_EXIT, r"exit code 0$", Cause.CLOSED),
    (EndCause.APPLICATION_EXIT, r"", Cause.JUPYTER_CRASHED),
    (EndCause.START_FAILED, r"", Cause.NOT_STARTED),
)
_TROUBLE = (
    "service-away",
    "unreachable",
    "port-taken",
    "time-nearly-up",
    "time-left",
    "idle-warning",
    "ended",
)
_AT_THE_END = 90.0  # seconds: Slurm may send a signal 60 seconds early (sbatch(1), --signal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts of one session.

    `log`: the last lines of the job's log, None if there is none; `script_began`: the batch script ran rps's
    first step; `walltime` in seconds; `inside`: in the user's existing allocation; `testimony`: the
    scheduler's own lines about the job; `scheduler_log`: the meaning of its messages in the log.
    """

    events: Sequence[Mapping[str, Any]] = ()
    log: Sequence[str] | None = ()
    script_began: bool = True
    gone: Gone | None = None
    walltime: float | None = None
    inside: bool = False
    testimony: Sequence[Evidence] = field(default_factory=tuple)
    scheduler_log: Sequence[LogCause] = ()

    def log_matches(self) -> Iterator[tuple[str, str]]:
        """Yield each cause that a line of the log shows, with the line.

        The scheduler's messages come first.
        """
        schedulers = [(one.cause, one.pattern) for one in self.scheduler_log]
        return _matches(self.log or (), (*schedulers, *_LOG))

    def last(self, name: str) -> Mapping[str, Any] | None:
        """Return the last event of this name."""
        return next((e for e in reversed(self.events) if e.get("event") == name), None)

    @property
    def cut_off(self) -> bool:
        """Return whether the agent's last call to the service failed."""
        tried = [
            e["event"] for e in self.events if e.get("event") in ("service-away", "service-back")
        ]
        return bool(tried) and tried[-1] == "service-away"

    @property
    def unreached(self) -> bool:
        """Return whether the service could not connect to the notebook when it last tried."""
        tried = [e["event"] for e in self.events if e.get("event") in ("unreachable", "ready")]
        return bool(tried) and tried[-1] == "unreachable"


def cause_of_the_end(facts: Facts) -> str:
    """Return the cause of a session's end."""
    return next(filter(None, (ask(facts) for ask in _RECOGNIZERS)), Cause.UNCLEAR)


def cause_of_the_state(
    state: str, status: JobStatus | None, facts: Facts, lapsed: str = Cause.LAPSED
) -> str:
    """Return the cause of a living session's state; `lapsed`: of a lapsed route."""
    if state == "pending":
        return (status.cause if isinstance(status, Known) else None) or Cause.WAITING
    if state in ("starting", "lapsed") and facts.cut_off:
        return Cause.PROXY_UNREACHABLE
    if state == "starting" and facts.unreached:
        return Cause.NODE_UNREACHABLE
    if state == "unknown":
        return _of_the_unknown(status)
    return lapsed if state == "lapsed" else state


def _of_the_unknown(status: JobStatus | None) -> str:
    if isinstance(status, Known):
        return Cause.SERVICE_AWAY if status.phase is JobPhase.RUNNING else Cause.UNKNOWN
    return (status.cause if isinstance(status, Unknown) else None) or Cause.UNKNOWN


def evidence(cause: str, facts: Facts) -> tuple[Evidence, ...]:
    """Return the evidence for a cause: lines of the scheduler, the agent and the log."""
    return (*facts.testimony, *_of_the_agent(cause, facts), *_of_the_log(cause, facts))


# ------------------------------------------------------------------------------------- recognizers


def _by_the_scheduler(facts: Facts) -> str | None:
    if facts.gone is None:
        return None
    return facts.gone.cause or _BY_OUTCOME.get(facts.gone.outcome)


def _by_the_first_lines(facts: Facts) -> str | None:
    """Recognize a batch script that failed before the agent wrote an event."""
    if facts.last("started"):
        return None
    return next((c for c, _ in facts.log_matches() if c in _BEFORE_THE_AGENT), None)


def _by_the_schedulers_message_in_the_log(facts: Facts) -> str | None:
    strong = (c for c, _ in facts.log_matches() if c not in _BEFORE_THE_AGENT | _WEAK)
    return next(strong, None)


def _by_the_agent(facts: Facts) -> str | None:
    ended = facts.last("ended")
    if ended is None:
        return None
    reason, cause = str(ended.get("reason") or ""), ended.get("cause")
    if cause == EndCause.START_FAILED:
        lines = str(ended.get("log") or "").splitlines()
        weak = [c for c, _ in _matches(lines, _LOG) if c in _WEAK]
        if weak and "ended before it answered" in reason:
            return weak[0]
    fitting = (word for said, part, word in _AGENT if said == cause and re.search(part, reason))
    return next(fitting, None)


def _by_the_end_of_the_allocation(facts: Facts) -> str | None:
    """Recognize the end of the user's allocation.

    Its exit code is that of the user's last command, and no evidence. The agent may have had no time to write
    its last event.
    """
    ended = facts.last("ended")
    over = facts.gone is not None and facts.gone.outcome in (Outcome.COMPLETED, Outcome.FAILED)
    if not (facts.inside and over) or (ended is not None and ended.get("cause") != EndCause.SIGNAL):
        return None
    return Cause.TIME_LIMIT if _was_out_of_time(facts) else Cause.ALLOCATION_OVER


def _by_a_cancellation(facts: Facts) -> str | None:
    ended = facts.last("ended")
    asked = ended is not None and ended.get("cause") == EndCause.SIGNAL
    if facts.gone is not None and facts.gone.outcome is Outcome.CANCELLED:
        return Cause.CANCELLED
    if asked and _was_out_of_time(facts):  # Torque without keep_completed forgets the outcome
        return Cause.TIME_LIMIT
    return Cause.CANCELLED if asked else None


def _was_out_of_time(facts: Facts) -> bool:
    started, ended = facts.last("started"), facts.last("ended")
    if started is None or ended is None or facts.walltime is None:
        return False
    return bool(ended["time"] - started["time"] > facts.walltime - _AT_THE_END)


def _by_silence(facts: Facts) -> str | None:
    """Recognize a lost connection: no last event, and the service was unreachable."""
    return Cause.PROXY_UNREACHABLE if facts.cut_off else None


def _by_the_last_lines(facts: Facts) -> str | None:
    return next((c for c, _ in facts.log_matches() if c in _WEAK), None)


def _by_an_early_end(facts: Facts) -> str | None:
    """Recognize an end before the agent's first event, by how far the script came."""
    early = (Outcome.COMPLETED, Outcome.FAILED, Outcome.ENDED)
    if facts.gone is None or facts.gone.outcome not in early or facts.last("started"):
        return None
    if facts.log is None:
        return Cause.NO_LOG
    if facts.script_began:
        return Cause.SCRIPT_FAILED
    return Cause.BEFORE_THE_SCRIPT if any(map(str.strip, facts.log)) else Cause.EMPTY_LOG


_RECOGNIZERS: tuple[Callable[[Facts], str | None], ...] = (
    _by_the_scheduler,
    _by_the_first_lines,
    _by_the_schedulers_message_in_the_log,
    _by_the_agent,
    _by_the_end_of_the_allocation,
    _by_a_cancellation,
    _by_silence,
    _by_the_last_lines,
    _by_an_early_end,
)


def _matches(
    lines: Sequence[str], patterns: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """Yield each cause that a line shows, with the line, in the order of the patterns."""
    for cause, pattern in patterns:
        find = re.compile(pattern, re.IGNORECASE).search
        for line in lines:
            if find(line[:_LONGEST]):
                yield cause, line


# ---------------------------------------------------------------------------------------- evidence


def _of_the_agent(cause: str, facts: Facts) -> Iterator[Evidence]:
    wanted = [e for e in facts.events if e.get("event") in _TROUBLE]
    if cause == Cause.READY:
        wanted = []
    for event in wanted[-_LINES:]:
        details = [f"{key} {event[key]}" for key in ("port", "left") if event.get(key) is not None]
        details += [str(event[key]) for key in ("reason",) if event.get(key)]
        line = f"{event['event']}: {', '.join(details)}" if details else str(event["event"])
        yield Evidence(source="agent", line=line)


def _of_the_log(cause: str, facts: Facts) -> list[Evidence]:
    lines = [line for said, line in facts.log_matches() if said == cause][-_LINES:]
    if not lines and cause in (
        Cause.SCRIPT_FAILED,
        Cause.BEFORE_THE_SCRIPT,
        Cause.UNKNOWN,
        Cause.APPLICATION_FAILED,
        Cause.JUPYTER_FAILED,
        Cause.JUPYTER_CRASHED,
        Cause.UNCLEAR,
    ):
        written = (line for line in facts.log or () if line.strip() and not _REQUEST.match(line))
        lines = list(written)[-_LINES:]
    return [Evidence(source="job.log", line=line) for line in lines]
