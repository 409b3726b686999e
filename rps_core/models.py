"""Clusters, hosts and requests for jobs, as they pass between the launcher and its plugins.

Frozen dataclasses: plugins build and compare them, and cannot change them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from rps_core.values import dataclass

LONGEST_WORD = 256  # characters
LONGEST_LINE = 4096  # characters


class Rule:
    """A condition on a value beside its type; `must_be` describes it in an error."""

    def __init__(self, must_be: str, holds: Callable[[Any], bool]) -> None:
        self.must_be = must_be
        self.holds = holds


def _is_word(text: str) -> bool:
    return 0 < len(text) <= LONGEST_WORD and text.isprintable() and not any(map(str.isspace, text))


def _is_job_id(text: str) -> bool:
    return _is_word(text) and text.isascii() and not text.startswith("-")


def _is_script(text: str) -> bool:
    try:
        os.fsencode(text)  # a path in it need not be UTF-8
    except UnicodeEncodeError:
        return False
    return text.startswith("#!") and "\0" not in text


def _is_line(text: str) -> bool:
    return 0 < len(text) <= LONGEST_LINE and text.isprintable()


def _is_at_least(least: int) -> Rule:
    return Rule(f"{least} or more", lambda number: number >= least)


# Types of hooks' answers with a rule for the value.
Word = Annotated[str, Rule("one printable word of at most 256 characters", _is_word)]
JobId = Annotated[str, Rule("one printable ASCII word that does not begin with `-`", _is_job_id)]
Line = Annotated[str, Rule(f"one printable line of at most {LONGEST_LINE} characters", _is_line)]
Count = Annotated[int, _is_at_least(1)]
Walltime = Annotated[timedelta, Rule("more than zero", lambda walltime: walltime > timedelta())]
Script = Annotated[str, Rule("a script: text that begins with `#!`", _is_script)]
CommandLine = Annotated[
    tuple[str, ...], Rule("a program and its arguments", lambda argv: bool(argv and all(argv)))
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster that a site plugin recognised.

    `name` is what users see and type, `site` the entry point of the plugin that claims it,
    `scheduler` the entry point of its scheduler plugin without the prefix (`slurm`).
    """

    name: Word
    site: Word
    scheduler: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One plugin's answer to "is this your cluster?", with the evidence in words.

    `fallback` claims (the built-in `local` and `generic`) count only when no other plugin claims.
    `unusable` is the reason why this host of the cluster cannot start sessions (it is a compute node, for
    example), and `advice` what to do; empty: the usual advice. `note` is one line about this choice for
    `rps start` to print. `cluster_name` makes the claim depend on the scheduler: it counts only if the
    scheduler gives its cluster this name (`rps_cluster_name`). `forbids_local`: no session may run on this
    host itself (`--cluster local`).
    """

    cluster: Cluster
    reasons: tuple[str, ...]
    fallback: bool = False
    unusable: str | None = None
    advice: str = ""
    note: str = ""
    cluster_name: Word | None = None
    forbids_local: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The facts by which a plugin recognises its cluster.

    `hostname` is as `hostname` prints it. `commands` has the path of each program on the PATH, by its name:
    `host.commands.get("sbatch")`. A program is looked up on access.
    """

    hostname: str
    fqdn: str
    commands: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrigin:
    """Where the job of a shell comes from, as the job's environment says.

    The environment is the user's: it chooses the cluster, and is no evidence for anything else. Values that
    are no names are ignored.

    Args:
        submit_host: the host that submitted the job; None: not known.
        cluster_name: what the scheduler calls its cluster (`rps_cluster_name`); None: not known.
        commands: the scheduler's commands, which the host that submitted the job has.
        runs_here: the scheduler has left on this host what it leaves where the job runs, such as the list of
            the job's nodes. `rps start --here` then needs no answer of the scheduler.
        time_left: None: not known.
    """

    submit_host: str | None = None
    cluster_name: str | None = None
    commands: tuple[Word, ...] = ()
    runs_here: bool = False
    time_left: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """The evidence of a scheduler on this host, from its plugin.

    `answers`: the scheduler answered. `seen` describes the evidence in one line. `sign`, if the scheduler
    did not answer, is the evidence that this host still belongs to a cluster (for example, a configuration
    with a controller on another host); None: there is none.
    """

    answers: bool
    seen: str
    sign: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """The resources requested from the scheduler. `None`: the scheduler's default.

    `partition` is a queue on Torque. `memory_mb` is per node, in MiB. `directives` are passed on unchanged,
    one per line, without the scheduler's prefix (`--exclusive`, `-l nice=5`). `gpus` is per node, and
    `gpu_type` the scheduler's name of their type. `given` names the fields that the command line set, where
    others come from a file, a variable or a default.
    """

    walltime: Walltime
    account: Line | None = None
    partition: Line | None = None
    qos: Line | None = None
    reservation: Line | None = None
    constraint: Line | None = None
    nodes: Count = 1
    tasks: Count = 1
    cpus: Count | None = None
    gpus: Annotated[int, _is_at_least(0)] | None = None
    gpu_type: Word | None = None
    memory_mb: Count | None = None
    directives: tuple[Line, ...] = ()
    given: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A request for a job, before it is rendered and submitted.

    `app` is `lab` or `notebook`, `user` the login name. The allocation has the account that is charged, if
    rps knows it.
    """

    allocation: Allocation
    app: str
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestChange:
    """A site's change of a request: the new allocation, and the reason for the user."""

    allocation: Allocation
    reason: Line


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSpec:
    """The input for rendering a batch script.

    `tag` is unique to this submission and goes into the job's name or comment: after a timed-out submission
    the job is found by it. `template` is a file of `JobTraits.templates`, or the user's.
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
    gpu_type_resource: str | None = None
    warn_before: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A submitted job, and what the scheduler printed beside its id.

    `words` are lines for the user, such as a time that a site cut or a maintenance that it announces.
    """

    job_id: JobId
    words: Sequence[str] = ()
