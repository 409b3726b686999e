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
)
from rps_core.schedulers.slurm_directives import job_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rps_core.plugin import SessionSpec, Submission


def submit(spec: SessionSpec, script: Path) -> list[str]:
    """The tag is an option too: a script of the user's own may have directives of its own."""
    return ["sbatch", "--parsable", f"--comment={spec.tag}", str(script)]


def queue(format_: str = QUEUE_FORMAT, *, everybody: bool = False) -> list[str]:
    """All jobs of this user, or of everybody, those that ended a short while ago too. Ids are not given: one
    that is forgotten fails the question for all, and a uid can be given where `--me` is not known yet.
    """
    whose = [] if everybody else [f"--user={os.getuid()}"]
    return ["squeue", *whose, "--states=all", "--noheader", f"--format={format_}"]


def accounting(job_ids: Sequence[str], *, everybody: bool = False) -> list[str]:
    """The jobs without their steps."""
    whose = ["--allusers"] if everybody else []
    return [*_sacct(ACCOUNTING_FIELDS), *whose, f"--jobs={','.join(job_ids)}"]


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


def _sacct(fields: str) -> list[str]:
    separators = ["--parsable2", f"--delimiter={UNIT}"]
    return ["sacct", "--allocations", "--noheader", *separators, f"--format={fields}"]
