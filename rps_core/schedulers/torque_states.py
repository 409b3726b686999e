"""What a job's attributes, as `torque_answers` reads them, say about the job: its phase or its end.

The letters are those of Torque and of PBS; they share all that both have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from rps_core.plugin import Gone, JobPhase, JobStatus, Known, Outcome, Unknown
from rps_core.schedulers.torque_answers import Attributes

_ENDED_STATES = frozenset("CF")  # Torque: complete; PBS: finished
_ALIVE: Mapping[str, tuple[JobPhase, str | None]] = {
    "R": (JobPhase.RUNNING, None),
    # Its output is copied and its epilogue runs. An exit status may be there already.
    "E": (JobPhase.COMPLETING, "the job ends, its node is cleaned up"),
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
    "s": "it is held by the system: it waits for another job, or an administrator stopped it",
    "p": "it is held because its password is wrong",
}
# What schedulers write into `comment`, the word for it (`rps_core.causes`), and plain words; the first
# that fits counts.
_COMMENTS = (
    ("can never run", "never", "it can never run as it was asked for"),
    (
        "queue not started",
        "partition-down",
        "its queue is stopped: no job of it starts until an administrator allows",
    ),
    ("not enough of the right type", "resources", "no node that fits is free yet"),
    ("insufficient amount", "resources", "what it asks for is not free yet"),
    ("no available resources", "resources", "what it asks for is not free yet"),
    ("not enough free nodes", "resources", "not enough nodes are free yet"),
    (
        "draining system",
        "priority",
        "the scheduler keeps nodes free for a job that waited longer",
    ),
    (
        "dedicated time",
        "nodes-unavailable",
        "the cluster is kept for something else at this time",
    ),
    ("per-user limit", "queue-limit", "you have as many jobs running as you may"),
    ("user has reached", "queue-limit", "you have as many jobs running as you may"),
    ("limit", "queue-limit", "a limit of the queue or the cluster is reached"),
    ("reservation", "nodes-unavailable", "the nodes are reserved for others"),
)
_CAUSES = {"H": "held", "W": "begin-time"}


_NEGATIVE = {
    -10: (Outcome.OUT_OF_MEMORY, "it used more memory than it had asked for"),
    -11: (Outcome.TIMEOUT, "its walltime was over"),
    -12: (Outcome.FAILED, "it used more processor time than it may"),
    # PBS
    -26: (Outcome.OUT_OF_MEMORY, "it used more virtual memory than it had asked for"),
    -27: (Outcome.OUT_OF_MEMORY, "it used more memory than it had asked for"),
    -28: (Outcome.FAILED, "it used more processor time than it may"),
    -29: (Outcome.TIMEOUT, "its walltime was over"),
}


def status_of(job: Attributes) -> JobStatus:
    """What a job's attributes say about it. An unheard-of state is Unknown."""
    state = job.get("job_state", "")
    node = _node(job)
    if state in _ENDED_STATES:
        return _ended(job, state)
    if state == "U" and _is_slurms(job) and job.get("ctime"):
        # The wrapper has a letter for every end that Slurm knows but this one (and a missed deadline).
        return Gone(outcome=Outcome.OUT_OF_MEMORY, evidence="Slurm's qstat shows it in state U")
    if state in _PENDING:
        cause, reason, raw = _pending_reason(job, state)
        return Known(
            phase=JobPhase.PENDING,
            reason=reason,
            raw_reason=raw,
            cause=cause,
            advice=_advice(job) if cause == "held" else None,
            estimated_start=_time(job.get("estimated.start_time") or job.get("Execution_Time")),
        )
    if state in _ALIVE:
        phase, doing = _ALIVE[state]
        left = None if state == "E" else _time_left(job)
        return Known(phase=phase, node=node, reason=doing, time_left=left)
    return Unknown(reason=f"qstat shows the job in a state that rps does not know: {state!r}")


def _pending_reason(job: Attributes, state: str) -> tuple[str | None, str, str | None]:
    """The word for it, plain words, and the scheduler's own."""
    raw = job.get("comment")
    if state == "H":
        held = [told for letter, told in _HOLDS.items() if letter in job.get("Hold_Types", "")]
        # Whoever waits for another job is held by the system too.
        waits = job.get("depend") and job.get("Hold_Types") == "s"
        return "dependency" if waits else "held", "; ".join(held) or _PENDING["H"], raw
    if state == "Q" and raw:
        told = ((word, words) for part, word, words in _COMMENTS if part in raw.lower())
        cause, reason = next(told, (None, _PENDING["Q"]))
        return cause, reason, raw
    return _CAUSES.get(state), _PENDING[state], raw


def _advice(job: Attributes) -> str:
    """What the user can do about a hold: `qrls` takes away the user's own alone."""
    holds = job.get("Hold_Types", "").strip("n")
    if holds and "u" not in holds:
        return "Ask the cluster's support why it is held: only they can let it go."
    release = f"`qrls {job['Job_Id']}` lets it go"
    if holds == "u":
        return f"{release}."
    return f"{release}, as far as you hold it; where it stays held, ask the cluster's support."


def _node(job: Attributes) -> str | None:
    """The first host of `n1/0+n1/1`, `n1/0-3` or `n1/2*7`. A hint: it need not be a host's name."""
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
    """Seconds of `HH:MM:SS` (also with days, or of a plain number); None for anything else."""
    if walltime is None or not re.fullmatch(r"[0-9]+(:[0-9]+){0,3}", walltime):
        return None
    total = 0
    for part, factor in zip(walltime.split(":")[::-1], (1, 60, 3600, 86400), strict=False):
        total += int(part) * factor
    return total


def _time(text: str | None) -> datetime | None:
    """A point in time as seconds since 1970 (XML) or as C's ctime prints it (text), in local time."""
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
    outcome, told = _outcome(code, job)
    evidence = f"{evidence}, exit status {code}: {told}"
    return Gone(
        outcome=outcome,
        evidence=f"{evidence} ({comment})" if comment else evidence,
        exit_code=code if 0 <= code < 128 else None,
    )


def _outcome(code: int, job: Attributes) -> tuple[Outcome, str]:
    if code == 0:
        return Outcome.COMPLETED, "it ended by itself"
    if code < 0:
        return _NEGATIVE.get(code, (Outcome.FAILED, "the node could not start it, or gave it up"))
    if code < 128:
        return Outcome.FAILED, "its script failed"
    if code < 256:
        return Outcome.FAILED, f"its script failed, or was ended by signal {code - 128}"
    asked = seconds(job.get("Resource_List.walltime"))
    used = seconds(job.get("resources_used.walltime"))
    if asked is not None and used is not None and used >= asked:
        return Outcome.TIMEOUT, "its walltime was over"  # Torque before 5 has no code for it
    if code == 256 + 15:
        return Outcome.CANCELLED, "it was told to end (SIGTERM), as qdel does"
    return Outcome.FAILED, f"it was killed with signal {code - 256}"


def _slurm_walltime_used(job: Attributes) -> bool:
    """Slurm's wrapper knows no exit status, but when the job began (`mtime`) and ended (`ctime`)."""
    if not _is_slurms(job):
        return False
    asked = seconds(job.get("Resource_List.walltime"))
    began, ended = _time(job.get("mtime")), _time(job.get("ctime"))
    if asked is None or began is None or ended is None:
        return False
    return (ended - began).total_seconds() >= asked > 0


def _is_slurms(job: Attributes) -> bool:
    """Torque and PBS always name their server."""
    return "server" not in job
