"""What qstat's answers mean, Torque's and PBS's: each job's status, also of those that it does not know."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from rps_core.plugin import (
    Finished,
    Gone,
    Job,
    JobStatus,
    Outcome,
    SchedulerError,
    Shell,
    Sighting,
    Unknown,
    login_name,
)
from rps_core.schedulers import torque_answers as answers
from rps_core.schedulers import torque_lookup as lookup
from rps_core.schedulers.torque_forgotten import conclude
from rps_core.schedulers.torque_states import status_of

# What to think of jobs that the server does not know, by id.
Judge: TypeAlias = Callable[[Sequence[Job], Shell], dict[str, JobStatus]]
# Torque's server or its helper on this host does not answer.
AWAY = frozenset({31, 33, 111, 113, 162, 214})


def strangers(job_ids: Sequence[str]) -> list[Job]:
    """Jobs of anybody, of whose sessions nothing can be read."""
    return [Job(id=job_id, tag="", session_dir=Path(os.devnull)) for job_id in job_ids]


def statuses(sightings: Mapping[str, Sighting]) -> dict[str, JobStatus]:
    """Of jobs that are one's own, whose name and owner nobody has to ask for."""
    return {job_id: sighting.status for job_id, sighting in sightings.items()}


def not_ids(jobs: Sequence[Job]) -> dict[str, Sighting]:
    """What is said of jobs that qstat must not be asked for."""
    return {
        job.id: Sighting(status=Unknown(reason=f"{job.id!r} is no id of a job of this scheduler"))
        for job in jobs
        if not answers.is_id(job.id)
    }


def sort_out(
    jobs: Sequence[Job],
    found: Sequence[answers.Attributes],
    denied: Sequence[str],
    done: Finished,
    shell: Shell,
    judge: Judge,
) -> dict[str, Sighting]:
    """What is said of each job, from what qstat showed and what it denied; `judge` is for these.

    Of a job that is both, or is shown twice, nothing is known: another's attributes, whose lines are text of
    its user, may look like a job's.
    """
    sightings: dict[str, Sighting] = {}
    unknown = []
    for job in jobs:
        shown = answers.matching(job.id, found)
        is_denied = any(answers.same_job(job.id, other) for other in denied)
        if len(shown) + is_denied > 1:
            told = "qstat says different things of this job"
            sightings[job.id] = Sighting(status=Unknown(reason=told))
        elif shown:
            name, owner = shown[0].get("Job_Name"), answers.owner(shown[0])
            status = status_of(shown[0])
            sightings[job.id] = Sighting(status=status, name=name, owner=owner or None)
        elif is_denied:
            unknown.append(job)
        else:
            told = answers.complaint("", done.stderr) or "its answer says nothing of this job"
            away = "scheduler-away" if done.code in AWAY else None
            silent = Unknown(reason=f"qstat: {told} (exit {done.code})", cause=away)
            sightings[job.id] = Sighting(status=silent)
    if unknown:
        judged = judge(unknown, shell)
        sightings.update((job_id, Sighting(status=status)) for job_id, status in judged.items())
    return sightings


def forgotten(jobs: Sequence[Job], shell: Shell) -> dict[str, JobStatus]:
    """What is to be thought of this user's jobs that the server does not know."""
    return _asked_otherwise(jobs, shell, ("-u", login_name()), conclude)


def forgotten_of_anybody(jobs: Sequence[Job], shell: Shell) -> dict[str, JobStatus]:
    """The same of anybody's jobs: without their files, the server's second word decides."""

    def conclude(job: Job, second_opinion: str | None) -> JobStatus:
        denial = f"the server knows no job {job.id} any more"
        if second_opinion is None:
            return Unknown(reason=f"{denial}, and nothing else tells what became of it")
        return Gone(outcome=Outcome.ENDED, evidence=f"{denial}, and {second_opinion}")

    return _asked_otherwise(jobs, shell, (), conclude)


def _asked_otherwise(
    jobs: Sequence[Job],
    shell: Shell,
    whose: Sequence[str],
    conclude: Callable[[Job, str | None], JobStatus],
) -> dict[str, JobStatus]:
    """Ask the server in another way, for all at once: `qselect` lists the ids of a user's jobs, or all."""
    try:
        done = shell("qselect", *whose, timeout=lookup.TIMEOUT)
        listed = {answers.number(line.strip()): line.strip() for line in done.stdout.split("\n")}
        clear = done.code == 0
    except SchedulerError:
        listed, clear = {}, False  # Slurm has none
    statuses: dict[str, JobStatus] = {}
    for job in jobs:
        other = listed.get(answers.number(job.id))
        if other is not None:  # the server has another name by now
            statuses[job.id] = Unknown(
                reason=f"qstat knows no job {job.id}, yet qselect lists {other}"
            )
        else:
            statuses[job.id] = conclude(job, "qselect does not list it" if clear else None)
    return statuses
