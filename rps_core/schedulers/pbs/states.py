"""Read a job's phase or end from its attributes, which `answers` parses.

The letters of states are those of Torque and PBS; where both have a letter, it means the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from rps_core.plugin import Cause, Gone, JobPhase, JobStatus, Known, Outcome, Unknown
from rps_core.schedulers.pbs.answers import Attributes
from rps_core.schedulers.pbs.comments import hold_of, meaning_of

_ENDED_STATES = frozenset("CF")  # Torque: complete; PBS: finished
_ALIVE: Mapping[str, tuple[JobPhase, str | None]] = {
    "R": (JobPhase.RUNNING, None),
    # Its output is being copied and its epilogue runs. It may have an exit status already.
    "E": (JobPhase.COMPLETING, "the job is ending, its node is being cleaned up"),
    "S": (JobPhase.SUSPENDED, "the scheduler suspended the job"),
}
_PENDING: Mapping[str, str] = {
    "Q": "it waits for its turn",
    "H": "it is held",
    "W": "it waits for its start time",
    "T": "it is being moved to another queue",
}
_HOLDS = {
    "u": "it is held by you",
    "o": "it is held by an operator",
    "s": "it is held by the system: it depends on another job, or an administrator holds it",
    "p": "it is held because of a wrong password",
}
_CAUSES: Mapping[str, Cause] = {"H": Cause.HELD, "W": Cause.BEGIN_TIME}


_NEGATIVE = {
    -10: (Outcome.OUT_OF_MEMORY, "it used more memory than it requested"),
    -11: (Outcome.TIMEOUT, "it reached its walltime limit"),
    -12: (Outcome.FAILED, "it used more CPU time than its limit"),
    # PBS
    -26: (Outcome.OUT_OF_MEMORY, "it used more virtual memory than it requested"),
    -27: (Outcome.OUT_OF_MEMORY, "it used more memory than it requested"),
    -28: (Outcome.FAILED, "it used more CPU time than its limit"),
    -29: (Outcome.TIMEOUT, "it reached its walltime limit"),
}


def status_of(job: Attributes) -> JobStatus:
    """Return the status from a job's attributes; Unknown for an unknown state."""
    state = job.get("job_state", "")
    node = _node(job)
    if state in _ENDED_STATES:
        return _ended(job, state)
    if state == "U" and _is_slurms(job) and job.get("ctime"):
        # The wrapper has a letter for every end but this one and a missed deadline.
        return Gone(outcome=Outcome.OUT_OF_MEMORY, evidence="Slurm's qstat shows it in state U")
    if state in _PENDING:
        return _pending(job, state)
    if state in _ALIVE:
        phase, doing = _ALIVE[state]
        left = None if state == "E" else _time_left(job)
        return Known(phase=phase, node=node, reason=doing, time_left=left)
    return Unknown(reason=f"qstat shows the job in a state that rps does not know: {state!r}")


def _pending(job: Attributes, state: str) -> Known:
    """Return why the job waits: by its hold, else by the comment, which is quoted if it is not known."""
    raw = job.get("comment")
    cause, reason, advice = _CAUSES.get(state), _PENDING[state], None
    if state == "H":
        held = [text for letter, text in _HOLDS.items() if letter in job.get("Hold_Types", "")]
        # A job that depends on another has a hold of the system too.
        if job.get("depend") and job.get("Hold_Types") == "s":
            cause = Cause.DEPENDENCY
        elif raw and job.get("Hold_Types") != "u":
            held = [hold_of(raw) or "; ".join(held)]
        reason = "; ".join(held) or reason
        advice = _advice(job) if cause == Cause.HELD else None
    elif state == "Q" and raw and raw.strip():
        meaning = meaning_of(raw)
        reason = " ".join(raw.split())
        if meaning:
            cause, reason, advice = meaning.cause, meaning.words, meaning.advice
    return Known(
        phase=JobPhase.PENDING,
        reason=reason,
        raw_reason=raw,
        cause=cause,
        advice=advice,
        estimated_start=time_of(job.get("estimated.start_time") or job.get("Execution_Time")),
    )


def _advice(job: Attributes) -> str:
    """Return what the user can do about a hold: `qrls` releases only the user's own."""
    holds = job.get("Hold_Types", "").strip("n")
    if holds and "u" not in holds:
        return "Ask the cluster's support why it is held: only they can release it."
    release = f"`qrls {job['Job_Id']}` releases it"
    if holds == "u":
        return f"{release}."
    return f"{release} from your hold. If it stays held, ask the cluster's support."


def _node(job: Attributes) -> str | None:
    """Return the first node of `n1/0+n1/1`, `n1/0-3` or `n1/2*7`.

    Its name in the server need not be its host name.
    """
    host = re.match(r"[^/+\s]+", job.get("exec_host", ""))
    return host[0] if host else None


def _time_left(job: Attributes) -> timedelta | None:
    remaining = job.get("Walltime.Remaining", "")
    if re.fullmatch("[0-9]+", remaining):
        return timedelta(seconds=int(remaining))
    asked = seconds(job.get("Resource_List.walltime"))
    used = seconds(job.get("resources_used.walltime"))
    return None if asked is None or used is None else timedelta(seconds=max(0, asked - used))


def seconds(walltime: str | None) -> int | None:
    """Parse `HH:MM:SS`, `DD:HH:MM:SS` or a number into seconds, else None."""
    if walltime is None or not re.fullmatch(r"[0-9]+(:[0-9]+){0,3}", walltime):
        return None
    total = 0
    for part, factor in zip(walltime.split(":")[::-1], (1, 60, 3600, 86400), strict=False):
        total += int(part) * factor
    return total


def time_of(text: str | None) -> datetime | None:
    """Parse a time: seconds since 1970 (XML), or local time in the format of ctime(3)."""
    if text is None:
        return None
    if re.fullmatch("[0-9]+", text):
        return datetime.fromtimestamp(int(text), UTC)
    try:
        return datetime.strptime(text, "%a %b %d %H:%M:%S %Y").astimezone()
    except ValueError:
        return None


def _ended(job: Attributes, state: str) -> Gone:
    comment = job.get("comment", "") if state == "F" else ""
    evidence = f"qstat shows it in state {state}"
    text = job.get("exit_status", job.get("Exit_status", ""))
    if not re.fullmatch(r"-?[0-9]+", text):
        if _node(job) is None:
            return Gone(
                outcome=Outcome.CANCELLED, evidence=f"it was deleted before it started; {evidence}"
            )
        outcome = Outcome.TIMEOUT if _slurm_walltime_used(job) else Outcome.ENDED
        return Gone(outcome=outcome, evidence=f"{evidence}, without an exit status")
    code = int(text)
    outcome, meaning = _outcome(code, job)
    evidence = f"{evidence}, exit status {code}: {meaning}"
    return Gone(
        outcome=outcome,
        evidence=f"{evidence} ({comment})" if comment else evidence,
        exit_code=code if 0 <= code < 128 else None,
    )


def _outcome(code: int, job: Attributes) -> tuple[Outcome, str]:
    if code == 0:
        return Outcome.COMPLETED, "it ended by itself"
    if code < 0:
        return _NEGATIVE.get(code, (Outcome.FAILED, "the node could not start it, or abandoned it"))
    if code < 128:
        return Outcome.FAILED, "its script failed"
    if code < 256:
        return Outcome.FAILED, f"its script failed, or was ended by signal {code - 128}"
    asked = seconds(job.get("Resource_List.walltime"))
    used = seconds(job.get("resources_used.walltime"))
    if asked is not None and used is not None and used >= asked:
        # Torque before 5 has no exit status for this.
        return Outcome.TIMEOUT, "it reached its walltime limit"
    if code == 256 + 15:
        return Outcome.CANCELLED, "it was ended with SIGTERM, as qdel does"
    return Outcome.FAILED, f"it was killed with signal {code - 256}"


def _slurm_walltime_used(job: Attributes) -> bool:
    """Return whether a job of Slurm's wrapper ran for its walltime.

    The wrapper has no exit status, but the times of start (`mtime`) and end (`ctime`).
    """
    if not _is_slurms(job):
        return False
    asked = seconds(job.get("Resource_List.walltime"))
    began, ended = time_of(job.get("mtime")), time_of(job.get("ctime"))
    if asked is None or began is None or ended is None:
        return False
    return (ended - began).total_seconds() >= asked > 0


def _is_slurms(job: Attributes) -> bool:
    """Return whether Slurm's wrapper showed the job: Torque and PBS show their server."""
    return "server" not in job
