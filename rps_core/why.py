"""Why a session is as it is: from the scheduler's words, the agent's events and the job's log.

Pure: what there is to know comes in as `Facts`, a cause (see `causes`) and its evidence go out. Asking
is done in `inquiry`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rps_core.models import Evidence, Gone, JobPhase, JobStatus, Known, Outcome, Unknown

_LINES = 5  # of the log, and of any other one source
_LONGEST = 1000  # characters of a line that are looked at: a cell may print one without an end

_BY_OUTCOME = {
    Outcome.TIMEOUT: "time-limit",
    Outcome.OUT_OF_MEMORY: "out-of-memory",
    Outcome.NODE_FAILED: "node-failure",
    Outcome.PREEMPTED: "preempted",
}
# What a job's log says, from the first that fits. Ours are the lines that begin with "rps: ".
_LOG = (
    ("time-limit", r"DUE TO TIME LIMIT|PBS: job killed: walltime"),
    ("node-failure", r"CANCELLED AT .* DUE TO NODE FAILURE"),
    ("preempted", r"DUE TO PREEMPTION"),
    (
        "out-of-memory",
        r"slurmstepd.*(?:oom[-_ ]kill|exceeded (?:job )?memory limit)|PBS: job killed: p?v?mem",
    ),
    (
        "no-module",
        r"rps: the module .* could not be loaded|rps: there is no module command|module\(s\) are unknown"
        r"|cannot be loaded as requested|Unable to locate a modulefile",
    ),
    (
        "no-environment",
        r"rps: (?:conda does not activate|there is no conda)|EnvironmentNameNotFound"
        r"|Not a conda environment|Could not find conda environment",
    ),
    ("no-python", r"rps: this node has no Python"),
    ("disk-full", r"No space left on device|Disk quota exceeded"),
    ("killed", r"MemoryError|Out of memory"),
    ("no-jupyter", r"Jupyter command `[^`]+` not found|No module named '?(?:jupyter|notebook)"),
)
# These explain an end only where the agent had not yet come as far as its first word.
_BEFORE_THE_AGENT = frozenset({"no-module", "no-environment", "no-python"})
# And these only where nobody says better: a cell may print such words, and go on.
_WEAK = frozenset({"killed", "disk-full", "no-jupyter"})

# What the agent said when it ended: its own word `cause`, and a part of its `reason`.
_AGENT = (
    ("start-failed", r"There is no program|is not executable", "no-jupyter"),
    ("start-failed", r"^The notebook directory", "no-directory"),
    ("start-failed", r"^No port is free|took each of", "port-taken"),
    ("start-failed", r"was not published|overrides it", "jupyter-open"),
    ("start-failed", r"No space left|quota", "disk-full"),
    ("start-failed", r"A defect in the agent", "defect"),
    ("start-failed", r"killed by signal 9", "killed"),
    ("start-failed", r"ended before it answered", "jupyter-failed"),
    (
        "refused",
        r"\((?:bad-port|outside-networks|wrong-address|excluded-address)\)",
        "port-refused",
    ),
    ("refused", r"", "refused-by-service"),
    ("timeout", r"", "jupyter-silent"),
    ("revoked", r"", "revoked"),
    ("removed", r"", "files-gone"),
    ("time-limit", r"", "time-limit"),
    ("idle", r"", "idle"),
    ("application-exit", r"killed by signal 9", "killed"),
    ("application-exit", r"exit code 0$", "closed"),
    ("application-exit", r"", "jupyter-crashed"),
    ("start-failed", r"", "jupyter-failed"),
)
_TROUBLE = ("service-away", "port-taken", "time-nearly-up", "time-left", "idle-warning", "ended")
_AT_THE_END = 90.0  # seconds: a scheduler may send its signal a minute early


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one session. `log`: the last lines that its job wrote; `walltime` in seconds;
    `inside`: in an allocation that its user holds; `testimony`: what the scheduler tells for the asking."""

    events: Sequence[Mapping[str, Any]] = ()
    log: Sequence[str] = ()
    gone: Gone | None = None
    walltime: float | None = None
    inside: bool = False
    testimony: Sequence[Evidence] = field(default_factory=tuple)

    def last(self, name: str) -> Mapping[str, Any] | None:
        """The last event of this name."""
        return next((e for e in reversed(self.events) if e.get("event") == name), None)

    @property
    def cut_off(self) -> bool:
        """The agent could not reach the service when it last tried."""
        tried = [
            e["event"] for e in self.events if e.get("event") in ("service-away", "service-back")
        ]
        return bool(tried) and tried[-1] == "service-away"


def cause_of_the_end(facts: Facts) -> str:
    """The cause of a session that is over."""
    return next(filter(None, (ask(facts) for ask in _RECOGNIZERS)), "unclear")


def cause_of_the_state(state: str, status: JobStatus | None, facts: Facts) -> str:
    """The cause of a living session's state."""
    if state == "pending":
        return (status.cause if isinstance(status, Known) else None) or "waiting"
    if state in ("starting", "lapsed") and facts.cut_off:
        return "proxy-unreachable"
    if state == "unknown":
        return _of_the_unknown(status)
    return state


def _of_the_unknown(status: JobStatus | None) -> str:
    if isinstance(status, Known):
        return "service-away" if status.phase is JobPhase.RUNNING else "unknown"
    return (status.cause if isinstance(status, Unknown) else None) or "unknown"


def evidence(cause: str, facts: Facts) -> tuple[Evidence, ...]:
    """The lines that speak for a cause: the scheduler's, the agent's, the log's."""
    return (*facts.testimony, *_told_by_the_agent(cause, facts), *_told_by_the_log(cause, facts))


# ------------------------------------------------------------------------------------- recognizers


def _by_the_scheduler(facts: Facts) -> str | None:
    return _BY_OUTCOME.get(facts.gone.outcome) if facts.gone else None


def _by_the_first_lines(facts: Facts) -> str | None:
    """The batch script gave up, and the agent never came to its first word."""
    if facts.last("started"):
        return None
    return next((c for c, _ in _matches(facts.log) if c in _BEFORE_THE_AGENT), None)


def _by_the_schedulers_mark_in_the_log(facts: Facts) -> str | None:
    strong = (c for c, _ in _matches(facts.log) if c not in _BEFORE_THE_AGENT | _WEAK)
    return next(strong, None)


def _by_the_agent(facts: Facts) -> str | None:
    ended = facts.last("ended")
    if ended is None:
        return None
    reason, cause = str(ended.get("reason") or ""), ended.get("cause")
    if cause == "start-failed":
        weak = [c for c, _ in _matches(str(ended.get("log") or "").splitlines()) if c in _WEAK]
        if weak and "ended before it answered" in reason:
            return weak[0]
    fitting = (word for said, part, word in _AGENT if said == cause and re.search(part, reason))
    return next(fitting, None)


def _by_the_end_of_the_allocation(facts: Facts) -> str | None:
    """Its exit code is that of the user's last command, and says nothing of the session. The agent may
    have had no time for a word."""
    ended = facts.last("ended")
    over = facts.gone is not None and facts.gone.outcome in (Outcome.COMPLETED, Outcome.FAILED)
    if not (facts.inside and over) or (ended is not None and ended.get("cause") != "signal"):
        return None
    return "time-limit" if _was_out_of_time(facts) else "allocation-over"


def _by_whoever_cancelled(facts: Facts) -> str | None:
    ended = facts.last("ended")
    asked = ended is not None and ended.get("cause") == "signal"
    if facts.gone is not None and facts.gone.outcome is Outcome.CANCELLED:
        return "cancelled"
    if asked and _was_out_of_time(facts):  # schedulers that forget at once do not tell
        return "time-limit"
    return "cancelled" if asked else None


def _was_out_of_time(facts: Facts) -> bool:
    started, ended = facts.last("started"), facts.last("ended")
    if started is None or ended is None or facts.walltime is None:
        return False
    return bool(ended["time"] - started["time"] > facts.walltime - _AT_THE_END)


def _by_silence(facts: Facts) -> str | None:
    """It ended without a word while it could not reach the service."""
    return "proxy-unreachable" if facts.cut_off else None


def _by_the_last_lines(facts: Facts) -> str | None:
    return next((c for c, _ in _matches(facts.log) if c in _WEAK), None)


def _by_an_early_end(facts: Facts) -> str | None:
    ended = facts.gone is not None and facts.gone.outcome in (Outcome.COMPLETED, Outcome.FAILED)
    return "script-failed" if ended and not facts.last("started") else None


_RECOGNIZERS: tuple[Callable[[Facts], str | None], ...] = (
    _by_the_scheduler,
    _by_the_first_lines,
    _by_the_schedulers_mark_in_the_log,
    _by_the_agent,
    _by_the_end_of_the_allocation,
    _by_whoever_cancelled,
    _by_silence,
    _by_the_last_lines,
    _by_an_early_end,
)


def _matches(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each cause that a line names, in the order of `_LOG`, with the line."""
    for cause, pattern in _LOG:
        find = re.compile(pattern, re.IGNORECASE).search
        for line in lines:
            if find(line[:_LONGEST]):
                yield cause, line


# ---------------------------------------------------------------------------------------- evidence


def _told_by_the_agent(cause: str, facts: Facts) -> Iterator[Evidence]:
    wanted = [e for e in facts.events if e.get("event") in _TROUBLE]
    if cause == "ready":
        wanted = []
    for event in wanted[-_LINES:]:
        told = [f"{key} {event[key]}" for key in ("port", "left") if event.get(key) is not None]
        told += [str(event[key]) for key in ("reason",) if event.get(key)]
        line = f"{event['event']}: {', '.join(told)}" if told else str(event["event"])
        yield Evidence(source="agent", line=line)


def _told_by_the_log(cause: str, facts: Facts) -> list[Evidence]:
    lines = [line for said, line in _matches(facts.log) if said == cause][-_LINES:]
    if not lines and cause in ("script-failed", "jupyter-failed", "jupyter-crashed", "unclear"):
        lines = [line for line in facts.log if line.strip()][-_LINES:]
    return [Evidence(source="job.log", line=line) for line in lines]
