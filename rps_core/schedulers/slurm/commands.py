"""Argument lists of Slurm's commands.

Options have long names: short ones differ between the commands.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rps_core.plugin import HealthCheck, login_name
from rps_core.schedulers.slurm.answers import (
    ACCOUNTING_FIELDS,
    NAMED_FIELDS,
    QUEUE_FORMAT,
    STEP_FORMAT,
    STORY_FIELDS,
    SUBMITTED_FIELDS,
    UNIT,
    WHICH_IN_ACCOUNTING,
    WHOSE_IN_ACCOUNTING,
    all_users_queue_format,
)
from rps_core.schedulers.slurm.directives import job_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rps_core.plugin import Job, SessionSpec, Submission

_ALL = ("--all", "--states=all", "--noheader")  # in hidden partitions as well


def submit(spec: SessionSpec, script: Path) -> list[str]:
    """Submit a script.

    Name and tag are options, which override directives in a script of the user. Without --ignore-pbs, sbatch
    would apply `#PBS` and `#BSUB` lines of such a script after rps's (src/sbatch/opt.c).
    """
    known_by = [f"--job-name={job_name(spec.name)}", f"--comment={spec.tag}"]
    return ["sbatch", "--parsable", "--ignore-pbs", *known_by, str(script)]


def queue(format_: str = QUEUE_FORMAT) -> list[str]:
    """List all jobs of this user, including those that ended a short time ago.

    Not by ids: one that slurmctld has forgotten makes squeue fail for all. By uid, because older versions do
    not have `--me`.
    """
    return ["squeue", f"--user={os.getuid()}", *_ALL, f"--format={format_}"]


def all_users_queue(unit: str) -> list[str]:
    """List the jobs of all users, with names and owners."""
    return ["squeue", *_ALL, f"--format={all_users_queue_format(unit)}"]


def one_of_any_user(job_id: str, unit: str) -> list[str]:
    """List the job of an id, of any user; without such a job squeue fails."""
    return [*all_users_queue(unit), f"--jobs={job_id}"]


def accounting(job_ids: Sequence[str]) -> list[str]:
    """Query accounting for this user's jobs, without their steps.

    An id that was used again has several jobs.
    """
    fields = f"{ACCOUNTING_FIELDS},{WHICH_IN_ACCOUNTING}"
    whose = [f"--user={os.getuid()}", "--duplicates"]
    return [*_sacct(fields), *whose, f"--jobs={','.join(job_ids)}"]


def all_users_accounting(job_ids: Sequence[str], unit: str) -> list[str]:
    """Query accounting for jobs of any user, with names and owners."""
    fields = f"{ACCOUNTING_FIELDS},{WHOSE_IN_ACCOUNTING}"
    return [*_sacct(fields, unit), "--allusers", f"--jobs={','.join(job_ids)}"]


def story(job: Job) -> list[str]:
    """Query accounting for a session's job with its steps, for people to read."""
    separators = ["--parsable2", f"--delimiter={UNIT}"]
    which = [f"--user={os.getuid()}", f"--jobs={job.id}"]
    if job.name and job.joined is None:
        which += ["--duplicates", f"--name={job.name}"]
    return ["sacct", "--noheader", *separators, f"--format={STORY_FIELDS}", *which]


def waiting(job_id: str) -> list[str]:
    """Query the controller for a job, as one line."""
    return ["scontrol", "--oneliner", "show", "job", job_id]


def submitted(spec: SessionSpec) -> list[str]:
    """Query accounting by name for a job that was just submitted.

    The name is as unique as the session's.
    """
    return [
        *_sacct(SUBMITTED_FIELDS),
        f"--user={os.getuid()}",
        f"--name={job_name(spec.name)}",
        "--starttime=now-1hours",
    ]


def submitted_since(submissions: Sequence[Submission]) -> list[str]:
    """Query accounting by name for jobs that squeue no longer lists."""
    first = min(submission.since for submission in submissions).astimezone()
    return [
        *_sacct(NAMED_FIELDS),
        f"--user={os.getuid()}",
        f"--name={','.join(job_name(submission.name) for submission in submissions)}",
        f"--starttime={first:%Y-%m-%dT%H:%M:%S}",
    ]


def cancel(job_id: str, name: str) -> list[str]:
    """Cancel a job of this user, if it has this name.

    Without --verbose, scancel prints nothing about a job that has ended.
    """
    return ["scancel", "--verbose", f"--user={os.getuid()}", f"--name={name}", job_id]


def step(step_id: str) -> list[str]:
    """Print the name of a step of this user."""
    whose = [f"--user={os.getuid()}", f"--steps={step_id}"]
    return ["squeue", "--noheader", *whose, f"--format={STEP_FORMAT}"]


def default_account() -> list[str]:
    """Print the user's default account; nothing if accounting has no such user."""
    question = ["show", "user", login_name(), "format=DefaultAccount"]
    return ["sacctmgr", "--noheader", "--parsable2", *question]


def health_checks() -> list[HealthCheck]:
    """Return the commands that `rps doctor` runs.

    sbatch and scancel only print their version, which needs no controller.
    """
    recent = [*_sacct(ACCOUNTING_FIELDS), f"--user={os.getuid()}", "--starttime=now-1minutes"]
    return [
        HealthCheck(argv=("sbatch", "--version")),
        HealthCheck(argv=("scancel", "--version")),
        HealthCheck(argv=tuple(queue())),
        HealthCheck(
            argv=tuple(recent),
            needed=False,
            without="Without it, the cause of a job's end may stay unknown.",
        ),
        HealthCheck(
            argv=tuple(default_account()),
            needed=False,
            without="Without it, rps does not show the default account; Slurm uses it all the same.",
        ),
    ]


def _sacct(fields: str, unit: str = UNIT) -> list[str]:
    separators = ["--parsable2", f"--delimiter={unit}"]
    return ["sacct", "--allocations", "--noheader", *separators, f"--format={fields}"]
