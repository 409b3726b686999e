"""The values that pass between the launcher, its plugins and its files.

Frozen dataclasses over the standard library: a plugin can build and compare them, nobody can change
them underway.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster that a site plugin recognised.

    `name` is what users see and type, `site` the entry point of the plugin that claims it,
    `scheduler` the entry point of its scheduler plugin without the prefix (`slurm`).
    """

    name: str
    site: str
    scheduler: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One plugin's answer to "is this your cluster?", with the evidence in words.

    `fallback` claims (the built-in `local` and `generic`) count only when no other plugin claims.
    `unusable` says why no session can be started from this host of the cluster (a compute node, say),
    and what to do.
    """

    cluster: Cluster
    reasons: tuple[str, ...]
    fallback: bool = False
    unusable: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What a plugin may look at to recognise its cluster.

    `hostname` is as `hostname` prints it, `commands` maps each scheduler command that was looked for
    and found on the PATH to its path.
    """

    hostname: str
    fqdn: str
    commands: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What is asked of the scheduler. `None` leaves the choice to the scheduler.

    `partition` is a queue on Torque. `memory_mb` is per node, in MiB. `directives` are passed on as
    they are, one a line, without the scheduler's prefix (`--exclusive`, `-l nice=5`).
    """

    walltime: timedelta
    account: str | None = None
    partition: str | None = None
    qos: str | None = None
    reservation: str | None = None
    constraint: str | None = None
    nodes: int = 1
    tasks: int = 1
    cpus: int | None = None
    gpus: int | None = None
    memory_mb: int | None = None
    directives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSpec:
    """Everything that a batch script is rendered from.

    `tag` is unique to this submission and goes into the job's name or comment, so that a submit that
    timed out can be looked up. `template` is a file of `rps_core/batch/<scheduler>/`, or the user's.
    `warn_before` is in seconds before the end of the walltime, 0 for no warning.
    """

    name: str
    tag: str
    app: str
    template: Path
    session_dir: Path
    directory: Path
    allocation: Allocation
    gpu_directive: str = "gres"
    warn_before: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A submitted job, as a scheduler plugin needs it: its id, its tag and where its files are."""

    id: str
    tag: str
    session_dir: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A submission of which no job's id was noted, because its launcher was ended meanwhile.

    `name` and `tag` are those of its `SessionSpec`; it is not older than `since`.
    """

    name: str
    tag: str
    session_dir: Path
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A cheap command without effect that shows whether a part of the scheduler answers.

    `needed`: no session can be started or followed without it. `without` says what is missed.
    """

    argv: tuple[str, ...]
    needed: bool = True
    without: str = ""


class JobPhase(StrEnum):
    """Where a job that the scheduler knows stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    COMPLETING = "completing"


class Outcome(StrEnum):
    """How a job ended, as far as the evidence tells. `ENDED`: it is over, no more is known."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out of memory"
    NODE_FAILED = "node failed"
    PREEMPTED = "preempted"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The scheduler has this job. `reason` is in plain words, `raw_reason` the scheduler's own, and `cause`
    is the word for it (`rps_core.causes.WAITING`) where the job waits. `advice`, in whole sentences, is
    what its user can do about it, with the scheduler's own command for this job; None: what `causes` says."""

    phase: JobPhase
    node: str | None = None
    reason: str | None = None
    raw_reason: str | None = None
    cause: str | None = None
    advice: str | None = None
    estimated_start: datetime | None = None
    time_left: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """The job is over, and `evidence` says how we know; `by` is who cancelled it, as far as that is told."""

    outcome: Outcome
    evidence: str
    by: str | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """The scheduler could not be asked, or its answer not be read; `reason` says why.

    Unknown ends nothing: a session goes on until there is evidence. `cause` is the word for it
    (`rps_core.causes.LIVING`): `scheduler-away` where the scheduler gave no answer.
    """

    reason: str
    cause: str | None = None


JobStatus = Known | Gone | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What a scheduler shows of a job that may be anybody's: its status, its `name` and the login name of its
    `owner`, as the scheduler has them. Both are None where it shows no such job, or not whose it is."""

    status: JobStatus
    name: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A line that speaks for a cause, and where it comes from: `sacct`, `agent`, `job.log`."""

    source: str
    line: str
