"""Parse the output of Slurm's commands: jobs, states and times.

Fields are separated by characters that users do not type (ASCII's unit and record separators), because
reasons contain blanks and commas, and comments any character. A banner above, from a site's wrapper, is
skipped. Slurm accepts these characters in a job's name, so a user could forge a record: where the jobs of all
users are listed, the separator is random (`random_separator`).
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from rps_core.plugin import Gone, Job, JobPhase, JobStatus, Known, Outcome, Unknown, dataclass
from rps_core.schedulers.slurm.reasons import advice_for, cause_of, in_plain_words

UNIT = "\x1f"
RECORD = "\x1e"

# %A is the id of a task of an array and of a component of a heterogeneous job as well. %B is the node of the
# batch script, %r the raw reason, %V the time of the submission, %k the comment.
_QUEUE_FIELDS = ("%A", "%T", "%S", "%L", "%B", "%r")
_WHICH_IN_QUEUE = ("%j", "%k", "%V")
_WHOSE_IN_QUEUE = ("%j", "%u")
QUEUE_FORMAT = UNIT.join((*_QUEUE_FIELDS, *_WHICH_IN_QUEUE)) + RECORD
TAG_FORMAT = UNIT.join(("%i", "%k")) + RECORD
TAGGED_FORMAT = UNIT.join(("%i", "%T", "%k")) + RECORD
STEP_FORMAT = f"%j{RECORD}"
ACCOUNTING_FIELDS = "JobIDRaw,State,ExitCode"
WHICH_IN_ACCOUNTING = "JobName,Comment,Submit"
WHOSE_IN_ACCOUNTING = "JobName,User"
SUBMITTED_FIELDS = "JobIDRaw,Comment"
STORY_FIELDS = "JobID,State,ExitCode,Elapsed,Timelimit,ReqMem,MaxRSS,NodeList"
NAMED_FIELDS = "JobIDRaw,JobName,Comment"
TAG_PREFIX = "rps:"  # of the tags that rps_core.launch.start makes

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
    "REQUEUED": "it was requeued",
    "REQUEUE_HOLD": "it was requeued and is held",
    "RESV_DEL_HOLD": "its reservation was deleted",
    "SPECIAL_EXIT": "it was requeued with a special exit code and is held",
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
_CANCELLED_BY = r"(?a)CANCELLED by (\d+)"


@dataclass(frozen=True, slots=True)
class Queued:
    """A job in the output of squeue, with its fields as printed.

    `name` and `owner`, or `name`, `tag` (the comment) and `submitted`, are None unless the format includes
    them.
    """

    state: str
    start: str
    time_left: str
    node: str
    reason: str
    name: str | None = None
    owner: str | None = None
    tag: str | None = None
    submitted: str | None = None


@dataclass(frozen=True, slots=True)
class Accounted:
    """A job in the output of sacct, with its fields as printed.

    `state` may include the uid of the canceller: `CANCELLED by 2001`. The others as in `Queued`.
    """

    state: str
    exit_code: str
    name: str | None = None
    owner: str | None = None
    tag: str | None = None
    submitted: str | None = None


def is_shown(job: Job, shown: Queued | Accounted) -> bool:
    """Return whether a job of this user is the session's, of the same id."""
    return job.is_shown_as(
        name=shown.name, tag=shown.tag, submitted=read_time(shown.submitted or "")
    )


def random_separator() -> str:
    """Return a separator of fields that no job's name can contain, for one command."""
    return f"{UNIT}{os.urandom(8).hex()}{UNIT}"


def all_users_queue_format(unit: str) -> str:
    """Return QUEUE_FORMAT with each job's name and owner, separated by `unit`."""
    return unit.join((*_QUEUE_FIELDS, *_WHOSE_IN_QUEUE)) + RECORD


def is_job_id(text: str) -> bool:
    """Return whether a text is a job id as `sbatch --parsable` prints it.

    An id has 32 bits, without the values for no job and for all. Of a larger number Slurm's commands use the
    lower bits, which may be another job's id.
    """
    return re.fullmatch(r"[1-9]\d{0,9}", text, re.ASCII) is not None and int(text) < _NO_JOB


def submitted_ids(stdout: str) -> list[str]:
    """Return the ids in the output of `sbatch --parsable`: alone on a line, or as `id;cluster`.

    Several: a site's wrapper printed a number alone on a line, too, such as a balance. Then only the queue
    knows which is the job's.
    """
    lines = (
        re.fullmatch(r"(\d+)(;[\w.-]+)?", line.strip(), re.ASCII) for line in stdout.splitlines()
    )
    found = [line for line in lines if line and is_job_id(line[1])]
    return list(dict.fromkeys(one[1] for one in [one for one in found if one[2]] or found))


def queued_jobs(stdout: str, unit: str | None = None) -> dict[str, Queued]:
    """Parse the output of `squeue --format=QUEUE_FORMAT`, by id.

    With `unit` the format is that of `all_users_queue_format`.
    """
    if unit:
        rows = _records(stdout, RECORD, len(_QUEUE_FIELDS) + len(_WHOSE_IN_QUEUE), unit)
        return {job_id: Queued(*fields) for job_id, *fields in rows}
    rows = _records(stdout, RECORD, len(_QUEUE_FIELDS) + len(_WHICH_IN_QUEUE))
    return {
        job_id: Queued(state, start, left, node, why, name=name, tag=tag, submitted=submitted)
        for job_id, state, start, left, node, why, name, tag, submitted in rows
    }


def accounted_jobs(stdout: str, unit: str) -> dict[str, Accounted]:
    """Parse `sacct --parsable2` with ACCOUNTING_FIELDS and WHOSE_IN_ACCOUNTING, by id.

    Args:
        stdout: the output.
        unit: its delimiter.
    """
    return {job_id: Accounted(*fields) for job_id, *fields in _records(stdout, "\n", 5, unit)}


def own_accounted_jobs(stdout: str) -> dict[str, list[Accounted]]:
    """Parse `sacct --parsable2` with ACCOUNTING_FIELDS and WHICH_IN_ACCOUNTING, by id.

    An id has several jobs, the oldest first, if it was requeued or its number was used again.
    """
    found: dict[str, list[Accounted]] = {}
    for job_id, state, exit_code, name, tag, submitted in _records(stdout, "\n", 6):
        one = Accounted(state, exit_code, name=name, tag=tag, submitted=submitted)
        found.setdefault(job_id, []).append(one)
    return found


def queued_with_tag(stdout: str, tag: str) -> str | None:
    """Return the id of the job with this tag from `squeue --format=TAG_FORMAT`."""
    found = (job_id for job_id, comment in _records(stdout, RECORD, 2) if comment == tag)
    return next(found, None)


def living_tagged(stdout: str) -> list[str]:
    """Return the ids of rps's living jobs from `squeue --format=TAGGED_FORMAT`."""
    rows = _records(stdout, RECORD, 3)
    return [
        job_id
        for job_id, state, comment in rows
        if comment.startswith(TAG_PREFIX) and state.strip() not in _OUTCOMES
    ]


def accounted_with_tags(stdout: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the ids in the output of `sacct --name=… --format=NAMED_FIELDS`, by tag.

    `tags` has the tags by the jobs' names. The name decides where accounting stores no comments.
    """
    rows = _records(stdout, "\n", 3)
    return {
        tags[name]: job_id
        for job_id, name, comment in rows
        if name in tags and comment in ("", tags[name])
    }


def accounted_with_tag(stdout: str, tag: str) -> str | None:
    """Return the id in the output of `sacct --name=… --format=SUBMITTED_FIELDS`.

    The requested name decides where accounting stores no comments, as by default while a job runs
    (slurm.conf(5), AccountingStoreFlags).
    """
    rows = _records(stdout, "\n", 2)
    return next((job_id for job_id, comment in rows if comment in ("", tag)), None)


def status_in_queue(job: Queued, job_id: str) -> JobStatus:
    """Return the status that squeue shows; Unknown if rps does not know the state."""
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
        # The reason of a CANCELLED job is why it waited before, not why it ended.
        more = f", {reason}" if reason and state != "CANCELLED" else ""
        return Gone(outcome=_OUTCOMES[state], evidence=f"squeue says {state}{more}")
    return Unknown(reason=f"squeue shows the job in a state that rps does not know: {state!r}")


def status_in_accounting(job: Accounted) -> JobStatus:
    """Return the status that sacct shows for a job that squeue does not list.

    A state of a living job is no evidence here: accounting records an end last, or never if the database was
    down at the time.
    """
    state = job.state.strip().removesuffix("+")
    by = re.match(_CANCELLED_BY, state)
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
    return Unknown(reason=f"squeue no longer lists the job, and sacct still says {state!r}")


def accounting_details(stdout: str) -> list[str]:
    """Format the output of `sacct --format=STORY_FIELDS`, a line for each step.

    Empty fields are omitted.
    """
    names = STORY_FIELDS.split(",")
    lines = []
    for row in stdout.splitlines():
        fields = row.split(UNIT)
        if len(fields) == len(names):
            named = (f"{n}={f}" for n, f in zip(names[1:], fields[1:], strict=True) if f)
            lines.append(f"{fields[0]} {' '.join(named)}")
    return [_with_canceller(line) for line in lines]


def name_of_step(stdout: str) -> str | None:
    """Return the name in the output of `squeue --steps=… --format=STEP_FORMAT`; None: no such step."""
    record, end, _ = stdout.partition(RECORD)
    return record.rpartition("\n")[2] if end else None  # a banner may stand above


def waiting_details(job: Job, stdout: str) -> list[str]:
    """Return what explains why a job waits; empty once it runs, and of another job with its id.

    `stdout` is the output of `scontrol --oneliner show job`.
    """
    line = stdout.strip().rpartition("\n")[2]
    if " JobState=PENDING " not in line:
        return []
    # A reason may contain blanks: it ends before the next name with its `=`.
    found = re.findall(r"(\w[\w:/]*)=(.*?)(?= \w[\w:/*]*=|$)", line)
    shown = {
        key: value.strip() for key, value in reversed(found)
    }  # of two the first counts: a comment is free text, and comes last
    is_own = re.search(rf"\({os.getuid()}\)$", shown.get("UserId", ""))
    submitted = read_time(shown.get("SubmitTime", ""))
    if not is_own or not job.is_shown_as(
        name=shown.get("JobName"), tag=shown.get("Comment"), submitted=submitted
    ):
        return []
    return [" ".join(f"{n}={v}" for n, v in found if n in _WHY_WAITING and v not in ("", "(null)"))]


def _with_canceller(line: str) -> str:
    """Return the line with the canceller's login name."""
    return re.sub(r"CANCELLED by (\d+)", lambda found: f"CANCELLED by {_user(int(found[1]))}", line)


def read_time(text: str) -> datetime | None:
    """Parse a local time such as `2026-11-22T18:05:33`; None for `N/A` and similar."""
    try:
        return datetime.strptime(text.strip(), "%Y-%m-%dT%H:%M:%S").astimezone()
    except ValueError:
        return None


def read_duration(text: str) -> timedelta | None:
    """Parse `4:52`, `1:05:00` or `1-02:03:59`; None for `INVALID` or `UNLIMITED`."""
    found = re.fullmatch(
        r"(?:(?:(?P<days>\d{1,5})-)?(?P<hours>\d{1,5}):)?(?P<minutes>\d{1,5}):(?P<seconds>\d\d)",
        text.strip(),
        re.ASCII,
    )
    if not found:
        return None
    return timedelta(**{name: int(value) for name, value in found.groupdict().items() if value})


def read_exit_code(text: str) -> int | None:
    """Return the exit code of sacct's `code:signal`; None if a signal ended the job."""
    found = re.fullmatch(r"(\d{1,3}):0", text.strip(), re.ASCII)
    return int(found[1]) if found else None


def _records(text: str, end: str, width: int, unit: str = UNIT) -> Iterator[list[str]]:
    """Yield the fields of each record that has `width` of them.

    Text after the last `end` is a record that was cut off. A banner may precede the first record.
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
