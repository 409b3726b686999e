"""Read each job's status from qstat's answer, Torque's and PBS's."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from rps_core.plugin import (
    AnotherJobError,
    Cause,
    Finished,
    Gone,
    Job,
    JobStatus,
    ObservedJob,
    Outcome,
    SchedulerError,
    Shell,
    Unknown,
    dataclass,
    has_answered,
    login_name,
)
from rps_core.schedulers.pbs import answers, lookup
from rps_core.schedulers.pbs.forgotten import conclude
from rps_core.schedulers.pbs.identity import status_if_own
from rps_core.schedulers.pbs.refusals import AWAY
from rps_core.schedulers.pbs.states import status_of

# Returns the statuses of jobs that the server does not know, by id.
Judge: TypeAlias = Callable[[Sequence[Job], Shell], dict[str, JobStatus]]
# Returns a job's status from its attributes.
Read: TypeAlias = Callable[[Job, answers.Attributes], JobStatus]
# Runs qstat for these ids.
Ask: TypeAlias = Callable[[Sequence[str], Shell], "Answer"]
_NO_SERVER = "cannot connect to server"  # printed by qstat of OpenPBS, whose exit code is then 255


@dataclass(frozen=True, slots=True)
class Answer:
    """qstat's answer.

    Args:
        shown: the jobs that it shows.
        denied: the ids that the server does not know.
        finished: the ids of jobs that have ended, whether or not their attributes are shown.
        foreign: the ids of jobs that are not the user's.
        done: the command's output.
    """

    shown: Sequence[answers.Attributes]
    denied: Sequence[str]
    done: Finished
    finished: Sequence[str] = ()
    foreign: Sequence[str] = ()


def poll(jobs: Sequence[Job], shell: Shell, ask: Ask) -> dict[str, JobStatus]:
    """Return the status of each of this user's jobs from one call of `ask`."""
    observed = _poll(jobs, shell, ask, forgotten, status_if_own, str)
    return {job_id: one.status for job_id, one in observed.items()}


def _poll(
    jobs: Sequence[Job],
    shell: Shell,
    ask: Ask,
    judge: Judge,
    read: Read,
    spelt: Callable[[str], str],
) -> dict[str, ObservedJob]:
    """Return each job's status from one call of `ask`.

    `spelt` returns the form of an id that qstat gets. No other text than an id reaches it.
    """
    asked = [job for job in jobs if answers.is_id(job.id)]
    observed = {
        job.id: ObservedJob(status=Unknown(reason=f"{job.id!r} is not a job id of this scheduler"))
        for job in jobs
        if not answers.is_id(job.id)
    }
    if asked:
        answer = ask(list(dict.fromkeys(spelt(job.id) for job in asked)), shell)
        observed |= _sort_out(asked, answer, shell, judge, read)
    return observed


def poll_all_users(job_ids: Sequence[str], shell: Shell, ask: Ask) -> dict[str, ObservedJob]:
    """Return the statuses of jobs of any user, whose sessions' files cannot be read."""
    jobs = [Job(id=job_id, tag="", session_dir=Path(os.devnull)) for job_id in job_ids]
    return _poll(
        jobs, shell, ask, forgotten_of_all_users, lambda _, shown: status_of(shown), answers.number
    )


def has_ended(job: Job, shell: Shell, ask: Ask) -> bool:
    """Return whether a job has ended; another job of its id must not be cancelled.

    Raises:
        AnotherJobError: the server has another job with this id.
        SchedulerError: qstat does not show the job, and does not deny it.
    """
    denied = Gone(outcome=Outcome.ENDED, evidence="the server does not know it")
    observed = _poll(
        [job],
        shell,
        ask,
        lambda jobs, _: dict.fromkeys((j.id for j in jobs), denied),
        status_if_own,
        str,
    )
    status = observed[job.id].status
    if isinstance(status, Unknown):
        if status.cause == "id-reused":
            raise AnotherJobError(status.reason)
        raise SchedulerError(
            f"Job {job.id} was not cancelled, because its owner could not be found out: {status.reason}",
            "Try again later.",
            transient=True,
        )
    return isinstance(status, Gone)


def _sort_out(
    jobs: Sequence[Job], answer: Answer, shell: Shell, judge: Judge, read: Read
) -> dict[str, ObservedJob]:
    """Return each job's status from qstat's answer.

    A job that is both shown and denied, or shown twice, is Unknown: attributes are text of other users, whose
    lines may look like a record. `judge` returns the statuses of the jobs that the server does not know.
    """
    observed: dict[str, ObservedJob] = {}
    unknown = []
    for job in jobs:
        shown = answers.matching(job.id, answer.shown)
        is_denied = any(answers.same_job(job.id, other) for other in answer.denied)
        if len(shown) + is_denied > 1:
            observed[job.id] = ObservedJob(status=Unknown(reason="qstat contradicts itself"))
        elif shown:
            name, owner = shown[0].get("Job_Name"), answers.owner(shown[0])
            status = read(job, shown[0])
            observed[job.id] = ObservedJob(status=status, name=name, owner=owner or None)
        elif is_denied:
            unknown.append(job)
        elif any(answers.same_job(job.id, other) for other in answer.finished):
            over = Gone(outcome=Outcome.ENDED, evidence="qstat says that it has finished")
            observed[job.id] = ObservedJob(status=over)
        elif job.tag and any(answers.same_job(job.id, other) for other in answer.foreign):
            observed[job.id] = ObservedJob(status=job.replaced(None, "another user"))
        else:
            message = (
                answers.complaint("", answer.done.stderr) or "its answer does not list this job"
            )
            is_away = answer.done.code in AWAY or _NO_SERVER in answer.done.stderr
            away = Cause.SCHEDULER_AWAY if is_away else None
            silent = Unknown(reason=f"qstat: {message} (exit {answer.done.code})", cause=away)
            observed[job.id] = ObservedJob(status=silent)
    if unknown:
        judged = judge(unknown, shell)
        observed.update((job_id, ObservedJob(status=status)) for job_id, status in judged.items())
    return observed


def forgotten(jobs: Sequence[Job], shell: Shell) -> dict[str, JobStatus]:
    """Return the statuses of this user's jobs that the server does not know."""
    return _asked_otherwise(jobs, shell, ("-u", login_name()), conclude)


def forgotten_of_all_users(jobs: Sequence[Job], shell: Shell) -> dict[str, JobStatus]:
    """Return the statuses of any user's jobs that the server does not know.

    The sessions' files cannot be read: another command of the server decides.
    """

    def conclude(job: Job, second_opinion: str | None) -> JobStatus:
        denial = f"the server no longer knows job {job.id}"
        if second_opinion is None:
            return Unknown(reason=f"{denial}, and there is no other evidence of its end")
        return Gone(outcome=Outcome.ENDED, evidence=f"{denial}, and {second_opinion}")

    return _asked_otherwise(jobs, shell, (), conclude)


def _asked_otherwise(
    jobs: Sequence[Job],
    shell: Shell,
    whose: Sequence[str],
    conclude: Callable[[Job, str | None], JobStatus],
) -> dict[str, JobStatus]:
    """Ask the server by another command.

    `qselect` lists the ids of a user's jobs, or of all jobs.
    """
    try:
        done = shell("qselect", *whose, timeout=lookup.TIMEOUT)
        listed = {answers.number(line.strip()): line.strip() for line in done.stdout.split("\n")}
        clear = has_answered(done)
    except SchedulerError:
        listed, clear = {}, False  # Slurm's wrappers have no qselect
    statuses: dict[str, JobStatus] = {}
    for job in jobs:
        other = listed.get(answers.number(job.id))
        if other is not None:  # the server was renamed
            statuses[job.id] = Unknown(
                reason=f"qstat does not know job {job.id}, but qselect lists {other}"
            )
        else:
            statuses[job.id] = conclude(job, "qselect does not list it" if clear else None)
    return statuses
