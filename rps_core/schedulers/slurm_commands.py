"""The argument lists of Slurm's commands. Long names, since short ones differ between the commands."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rps_core.plugin import Question, login_name
from rps_core.schedulers.slurm_answers import (
    ACCOUNTING_FIELDS,
    NAMED_FIELDS,
    QUEUE_FORMAT,
    STORY_FIELDS,
    SUBMITTED_FIELDS,
    UNIT,
    WHOSE_IN_ACCOUNTING,
    everybodys_queue_format,
)
from rps_core.schedulers.slurm_directives import job_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rps_core.plugin import SessionSpec, Submission

_ALL = ("--states=all", "--noheader")


def submit(spec: SessionSpec, script: Path) -> list[str]:
    """Name and tag are options too: a script of the user's own may have directives of its own."""
    known_by = [f"--job-name={job_name(spec.name)}", f"--comment={spec.tag}"]
    return ["sbatch", "--parsable", *known_by, str(script)]


def queue(format_: str = QUEUE_FORMAT) -> list[str]:
    """All jobs of this user, those that ended a short while ago too. Ids are not given: one that is
    forgotten fails the question for all, and a uid can be given where `--me` is not known yet.
    """
    return ["squeue", f"--user={os.getuid()}", *_ALL, f"--format={format_}"]


def everybodys_queue(unit: str) -> list[str]:
    """The same of everybody, with names and owners."""
    return ["squeue", *_ALL, f"--format={everybodys_queue_format(unit)}"]


def accounting(job_ids: Sequence[str]) -> list[str]:
    """The jobs without their steps."""
    return [*_sacct(ACCOUNTING_FIELDS), f"--jobs={','.join(job_ids)}"]


def everybodys_accounting(job_ids: Sequence[str], unit: str) -> list[str]:
    """The same of anybody's, with names and owners."""
    fields = f"{ACCOUNTING_FIELDS},{WHOSE_IN_ACCOUNTING}"
    return [*_sacct(fields, unit), "--allusers", f"--jobs={','.join(job_ids)}"]


def story(job_id: str) -> list[str]:
    """A job with its steps, to be read by people."""
    separators = ["--parsable2", f"--delimiter={UNIT}"]
    return ["sacct", "--noheader", *separators, f"--format={STORY_FIELDS}", f"--jobs={job_id}"]


def waiting(job_id: str) -> list[str]:
    """What the controller has of a job, as one line."""
    return ["scontrol", "--oneliner", "show", "job", job_id]


def submitted(spec: SessionSpec) -> list[str]:
    """A job just submitted, by its name, which is as unique as the session's."""
    return [
        *_sacct(SUBMITTED_FIELDS),
        f"--user={os.getuid()}",
        f"--name={job_name(spec.name)}",
        "--starttime=now-1hours",
    ]


def submitted_since(submissions: Sequence[Submission]) -> list[str]:
    """Jobs that squeue has forgotten, by their names."""
    first = min(submission.since for submission in submissions).astimezone()
    return [
        *_sacct(NAMED_FIELDS),
        f"--user={os.getuid()}",
        f"--name={','.join(job_name(submission.name) for submission in submissions)}",
        f"--starttime={first:%Y-%m-%dT%H:%M:%S}",
    ]


def cancel(job_id: str) -> list[str]:
    """Without --verbose scancel is silent whatever becomes of it."""
    return ["scancel", "--verbose", job_id]


def default_account() -> list[str]:
    """Prints the account alone, or nothing where the user is not known."""
    question = ["show", "user", login_name(), "format=DefaultAccount"]
    return ["sacctmgr", "--noheader", "--parsable2", *question]


def questions() -> list[Question]:
    """For `rps doctor`. sbatch and scancel are asked for their version alone, which needs no controller."""
    recent = [*_sacct(ACCOUNTING_FIELDS), f"--user={os.getuid()}", "--starttime=now-1minutes"]
    return [
        Question(argv=("sbatch", "--version")),
        Question(argv=("scancel", "--version")),
        Question(argv=tuple(queue())),
        Question(
            argv=tuple(recent),
            needed=False,
            without="Without it the reason of an ended job may stay unknown.",
        ),
        Question(
            argv=tuple(default_account()),
            needed=False,
            without="Without it the default account is not known to rps; Slurm takes it all the same.",
        ),
    ]


def _sacct(fields: str, unit: str = UNIT) -> list[str]:
    separators = ["--parsable2", f"--delimiter={unit}"]
    return ["sacct", "--allocations", "--noheader", *separators, f"--format={fields}"]
