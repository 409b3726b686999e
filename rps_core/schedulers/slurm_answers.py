"""Reading what Slurm's commands print: jobs, states and times. Nothing here runs anything.

Fields are set apart by characters that nobody types (ASCII's unit and record separators), since
reasons hold blanks and commas and comments hold anything; a banner that a site's wrapper prints above
is passed over. Slurm takes these characters in a job's name all the same, and strangers may mean harm: of
everybody's jobs the fields are set apart by what nobody can know beforehand (`unguessable`).
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from rps_core.plugin import Gone, JobPhase, JobStatus, Known, Outcome, Unknown
from rps_core.schedulers.slurm_reasons import advice_for, cause_of, in_plain_words

UNIT = "\x1f"
RECORD = "\x1e"

# %B is the node of the batch script, %r the raw reason, which is free text and therefore last.
_QUEUE_FIELDS = ("%i", "%T", "%S", "%L", "%B", "%r")
_WHOSE_IN_QUEUE = ("%j", "%u")
QUEUE_FORMAT = UNIT.join(_QUEUE_FIELDS) + RECORD
TAG_FORMAT = UNIT.join(("%i", "%k")) + RECORD
TAGGED_FORMAT = UNIT.join(("%i", "%T", "%k")) + RECORD
ACCOUNTING_FIELDS = "JobIDRaw,State,ExitCode"
WHOSE_IN_ACCOUNTING = "JobName,User"
SUBMITTED_FIELDS = "JobIDRaw,Comment"
STORY_FIELDS = "JobID,State,ExitCode,Elapsed,Timelimit,ReqMem,MaxRSS,NodeList"
NAMED_FIELDS = "JobIDRaw,JobName,Comment"
TAG_PREFIX = "rps:"  # as launch.py makes them

_PHASES = {
    "PENDING": JobPhase.PENDING,
    "CONFIGURING": JobPhase.PENDING,
    "POWER_UP_NODE": JobPhase.PENDING,
    "REQUEUED": JobPhase.PENDING,
    "REQUEUE_FED": JobPhase.PENDING,
    "REQUEUE_HOLD": JobPhase.PENDING,
    "RESV_DEL_HOLD": JobPhase.PENDING,
    "SPECIAL_EXIT": JobPhase.PENDING,
    "RUNNING": JobPhase.RUNNING,
    "RESIZING": JobPhase.RUNNING,
    "SIGNALING": JobPhase.RUNNING,
    "SUSPENDED": JobPhase.SUSPENDED,
    "STOPPED": JobPhase.SUSPENDED,
    "COMPLETING": JobPhase.COMPLETING,
    "STAGE_OUT": JobPhase.COMPLETING,
}
_WAITING = {
    "CONFIGURING": "its node is being prepared",
    "POWER_UP_NODE": "its node is being switched on",
    "REQUEUED": "it was put back into the queue",
    "REQUEUE_HOLD": "it was put back into the queue, and is held there",
    "RESV_DEL_HOLD": "its reservation was deleted",
    "SPECIAL_EXIT": "it was put back into the queue with a special exit, and is held there",
}
_OUTCOMES = {
    "COMPLETED": Outcome.COMPLETED,
    "FAILED": Outcome.FAILED,
    "LAUNCH_FAILED": Outcome.FAILED,
    "CANCELLED": Outcome.CANCELLED,
    "DEADLINE": Outcome.CANCELLED,
    "TIMEOUT": Outcome.TIMEOUT,
    "OUT_OF_MEMORY": Outcome.OUT_OF_MEMORY,
    "NODE_FAIL": Outcome.NODE_FAILED,
    "BOOT_FAIL": Outcome.NODE_FAILED,
    "RECONFIG_FAIL": Outcome.NODE_FAILED,
    "PREEMPTED": Outcome.PREEMPTED,
}
_NO_JOB = 0xFFFFFFFE  # slurm.h: NO_VAL, and INFINITE above it
_NOTHING = frozenset(
    {"", "n/a", "none", "(null)", "null", "unknown", "none assigned", "not_set", "invalid"}
)
_WHY_WAITING = frozenset(
    {"JobState", "Reason", "Dependency", "Priority", "EligibleTime", "StartTime", "Partition", "Account",
     "QOS", "TimeLimit", "SchedNodeList"}
)  # fmt: skip
_CANCELLED_BY = re.compile(r"CANCELLED by (\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Queued:
    """A job in the answer of squeue. All fields as they were printed; the last two where they were asked
    for."""

    state: str
    start: str
    time_left: str
    node: str
    reason: str
    name: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Accounted:
    """A job in the answer of sacct. `state` may name who cancelled it: `CANCELLED by 2001`. The last two as
    in `Queued`."""

    state: str
    exit_code: str
    name: str | None = None
    owner: str | None = None


def unguessable() -> str:
    """A separator of fields, to be used once."""
    return f"{UNIT}{os.urandom(8).hex()}{UNIT}"


def everybodys_queue_format(unit: str) -> str:
    """QUEUE_FORMAT with each job's name and owner."""
    return unit.join((*_QUEUE_FIELDS, *_WHOSE_IN_QUEUE)) + RECORD


def is_job_id(text: str) -> bool:
    """Whether it is an id as `sbatch --parsable` gives it: one of 32 bits, less the values that stand for
    none and for all. Of larger ones Slurm's commands read the lower bits, and so another job's."""
    return re.fullmatch(r"[1-9]\d{0,9}", text, re.ASCII) is not None and int(text) < _NO_JOB


def submitted_id(stdout: str) -> str | None:
    """The id that `sbatch --parsable` printed, alone or as `id;cluster`: the last line that is one,
    since wrappers print banners. None: there is none.
    """
    for line in reversed(stdout.splitlines()):
        found = re.fullmatch(r"(\d+)(;[\w.-]+)?", line.strip(), re.ASCII)
        if found and is_job_id(found[1]):
            return found[1]
    return None


def queued_jobs(stdout: str, unit: str | None = None) -> dict[str, Queued]:
    """The jobs of a `squeue --format=QUEUE_FORMAT`, by id; with `unit`, of `everybodys_queue_format`."""
    width = len(_QUEUE_FIELDS) + (len(_WHOSE_IN_QUEUE) if unit else 0)
    rows = _records(stdout, RECORD, width, unit or UNIT)
    return {job_id: Queued(*fields) for job_id, *fields in rows}


def accounted_jobs(stdout: str, unit: str | None = None) -> dict[str, Accounted]:
    """The jobs of a `sacct --parsable2 --format=ACCOUNTING_FIELDS`, by id; with `unit`, which is then the
    delimiter, followed by WHOSE_IN_ACCOUNTING."""
    rows = _records(stdout, "\n", 5 if unit else 3, unit or UNIT)
    return {job_id: Accounted(*fields) for job_id, *fields in rows}


def queued_with_tag(stdout: str, tag: str) -> str | None:
    """The id of the job with this tag in a `squeue --format=TAG_FORMAT`."""
    found = (job_id for job_id, comment in _records(stdout, RECORD, 2) if comment == tag)
    return next(found, None)


def living_tagged(stdout: str) -> list[str]:
    """The ids in a `squeue --format=TAGGED_FORMAT` of the jobs that rps submitted and that have not ended."""
    rows = _records(stdout, RECORD, 3)
    return [
        job_id
        for job_id, state, comment in rows
        if comment.startswith(TAG_PREFIX) and state.strip() not in _OUTCOMES
    ]


def accounted_with_tags(stdout: str, tags: Mapping[str, str]) -> dict[str, str]:
    """The ids in a `sacct --name=… --format=NAMED_FIELDS` by tag; `tags` are by the jobs' names. Where
    comments are not accounted the name decides."""
    rows = _records(stdout, "\n", 3)
    return {
        tags[name]: job_id
        for job_id, name, comment in rows
        if name in tags and comment in ("", tags[name])
    }


def accounted_with_tag(stdout: str, tag: str) -> str | None:
    """The id in a `sacct --name=… --format=SUBMITTED_FIELDS`. Where comments are not accounted (as by
    default, while a job runs) the name that was asked for decides.
    """
    rows = _records(stdout, "\n", 2)
    return next((job_id for job_id, comment in rows if comment in ("", tag)), None)


def status_in_queue(job: Queued, job_id: str) -> JobStatus:
    """What squeue says of this job. A state that is not known here concludes nothing."""
    state = job.state.strip()
    reason = None if job.reason.strip().lower() in _NOTHING else job.reason.strip()
    if state in _PHASES:
        phase = _PHASES[state]
        pending = phase is JobPhase.PENDING
        return Known(
            phase=phase,
            node=None if pending or job.node.strip().lower() in _NOTHING else job.node.strip(),
            reason=in_plain_words(reason) if reason else _WAITING.get(state),
            raw_reason=reason,
            cause=cause_of(reason or state) if pending else None,
            advice=advice_for(job_id, reason or state) if pending else None,
            estimated_start=read_time(job.start) if pending else None,
            time_left=None if pending else read_duration(job.time_left),
        )
    if state in _OUTCOMES:
        # With CANCELLED stands why the job waited before: that is not why it ended.
        more = f", {reason}" if reason and state != "CANCELLED" else ""
        told = f"squeue says {state}{more}"
        return Gone(outcome=_OUTCOMES[state], evidence=told)
    return Unknown(reason=f"squeue calls its state {state!r}, which rps does not know")


def status_in_accounting(job: Accounted) -> JobStatus:
    """What sacct says of a job that squeue does not show. Here a job that lives is no evidence of
    anything: accounting learns of an end last, or, if the database was away, never.
    """
    state = job.state.strip().removesuffix("+")
    by = _CANCELLED_BY.match(state)
    word = "CANCELLED" if by else state
    if word in _OUTCOMES:
        outcome = _OUTCOMES[word]
        ended_itself = outcome in (Outcome.COMPLETED, Outcome.FAILED)
        return Gone(
            outcome=outcome,
            evidence=f"sacct says {f'CANCELLED by {_user(int(by[1]))}' if by else state}",
            by=_name(int(by[1])) if by else None,
            exit_code=read_exit_code(job.exit_code) if ended_itself else None,
        )
    return Unknown(reason=f"squeue shows it no more, and sacct still says {state!r}")


def told_by_accounting(stdout: str) -> list[str]:
    """A `sacct --format=STORY_FIELDS`, a line for each step, fields by name and without the empty ones."""
    names = STORY_FIELDS.split(",")
    lines = []
    for row in stdout.splitlines():
        fields = row.split(UNIT)
        if len(fields) == len(names):
            told = (f"{n}={f}" for n, f in zip(names[1:], fields[1:], strict=True) if f)
            lines.append(f"{fields[0]} {' '.join(told)}")
    return [_naming(line) for line in lines]


def told_of_waiting(stdout: str) -> list[str]:
    """Of a `scontrol --oneliner show job` what tells why the job waits; nothing once it does not."""
    line = stdout.strip().rpartition("\n")[2]
    if " JobState=PENDING " not in line:
        return []
    # A reason may hold blanks; what follows is the next name with its `=`.
    found = re.findall(r"(\w[\w:/]*)=(.*?)(?= \w[\w:/*]*=|$)", line)
    return [" ".join(f"{n}={v}" for n, v in found if n in _WHY_WAITING and v not in ("", "(null)"))]


def _naming(line: str) -> str:
    """Who cancelled it by name."""
    return re.sub(r"CANCELLED by (\d+)", lambda found: f"CANCELLED by {_user(int(found[1]))}", line)


def read_time(text: str) -> datetime | None:
    """A local time as `2026-11-22T18:05:33`; None for `N/A` and its like."""
    try:
        return datetime.strptime(text.strip(), "%Y-%m-%dT%H:%M:%S").astimezone()
    except ValueError:
        return None


def read_duration(text: str) -> timedelta | None:
    """A time as `4:52`, `1:05:00` or `1-02:03:59`; None for `INVALID`, `UNLIMITED` and their like."""
    found = re.fullmatch(
        r"(?:(?:(?P<days>\d{1,5})-)?(?P<hours>\d{1,5}):)?(?P<minutes>\d{1,5}):(?P<seconds>\d\d)",
        text.strip(),
        re.ASCII,
    )
    if not found:
        return None
    return timedelta(**{name: int(value) for name, value in found.groupdict().items() if value})


def read_exit_code(text: str) -> int | None:
    """The exit code of sacct's `code:signal`; None where a signal ended it."""
    found = re.fullmatch(r"(\d{1,3}):0", text.strip(), re.ASCII)
    return int(found[1]) if found else None


def _records(text: str, end: str, width: int, unit: str = UNIT) -> Iterator[list[str]]:
    """The fields of each record that has so many, less what follows the last `end`: it broke off. A
    banner may stand above the first.
    """
    for record in text.split(end)[:-1]:
        fields = record.split(unit)
        if len(fields) == width:
            job_id = fields[0].rpartition("\n")[2].strip()
            # The first component of a heterogeneous job is the one that runs the batch script.
            job_id = job_id.removesuffix("+0")
            if is_job_id(job_id):
                yield [job_id, *fields[1:]]


def _user(uid: int) -> str:
    name = _name(uid)
    return name if name.startswith("uid ") else f"{name} (uid {uid})"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
