"""Slurm: the hooks.

`slurm_directives` says what a job asks for, `slurm_choices` what one may ask for, `slurm_commands` what is
run, `slurm_answers` reads what comes back, `slurm_refusals` why something failed, `slurm_reasons` why a job
waits, and `slurm_forgotten` judges what Slurm does not tell.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.plugin import (
    Evidence,
    Gone,
    Job,
    JobStatus,
    Outcome,
    Question,
    SchedulerError,
    SessionSpec,
    Shell,
    Sighting,
    Submission,
    Unknown,
    hookimpl,
    render,
)
from rps_core.schedulers import slurm_answers as answers
from rps_core.schedulers import slurm_commands as commands
from rps_core.schedulers import slurm_forgotten as forgotten
from rps_core.schedulers import slurm_refusals as refusals
from rps_core.schedulers.slurm_choices import rps_allocations as rps_allocations
from rps_core.schedulers.slurm_choices import rps_partitions as rps_partitions
from rps_core.schedulers.slurm_directives import directives, job_name
from rps_core.schedulers.slurm_steps import rps_end_step as rps_end_step
from rps_core.schedulers.slurm_steps import rps_held_job as rps_held_job
from rps_core.schedulers.slurm_steps import rps_start_step as rps_start_step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from importlib.resources.abc import Traversable

    from rps_core.plugin import Finished

# Seconds. An unreachable controller takes sbatch 29 and squeue 49 until it gives up, a database that
# hangs sacct and sacctmgr 45, and those two have only a second opinion to give.
SUBMIT_TIME = 40.0
QUEUE_TIME = 60.0
ACCOUNTING_TIME = 15.0
IDS_AT_ONCE = 5000  # of one sacct: Linux takes no argument of more than 128 KiB
SETTLE_TIME = 2.0  # what an interrupted submission is given to arrive before it is looked for


@hookimpl(trylast=True)
def rps_scheduler_config() -> Traversable:
    """Beside this module."""
    return Path(__file__).with_name("slurm.yaml")


@hookimpl(trylast=True)
def rps_default_allocation(shell: Shell) -> str | None:
    """The user's default account. None where accounting is off or does not answer: sbatch takes the
    default by itself, and says if there must be one.
    """
    try:
        done = shell(*commands.default_account(), timeout=ACCOUNTING_TIME)
    except SchedulerError:
        return None
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return lines[-1] if done.code == 0 and lines and lines[-1] != "(null)" else None


@hookimpl(trylast=True)
def rps_render_batch(spec: SessionSpec) -> str:
    """The template with `#SBATCH` lines."""
    lines = [f"#SBATCH {directive}" for directive in directives(spec)]
    return render(spec.template, lines, spec.session_dir)


@hookimpl(trylast=True)
def rps_submit(spec: SessionSpec, script: Path, shell: Shell) -> str:
    """Run sbatch. Where its answer got lost the job is looked up by its tag, and submitted once more
    only if it is certainly not there.
    """
    retried = False
    while True:
        outcome = _sbatch(spec, script, shell)
        if isinstance(outcome, str):
            return outcome
        found = _look_up(spec, outcome, shell)
        if found is not None:
            return found
        if retried or not outcome.again:
            raise outcome.error
        retried = True


@hookimpl(trylast=True)
def rps_poll(jobs: Sequence[Job], shell: Shell) -> Mapping[str, JobStatus]:
    """One squeue for all jobs, and one sacct for those that it shows no more or calls cancelled (sacct
    knows by whom).
    """
    by_id = {job.id: job for job in jobs}
    found = _poll(list(by_id), shell, lambda one, opinion: forgotten.conclude(by_id[one], opinion))
    return {job_id: sighting.status for job_id, sighting in found.items()}


@hookimpl(trylast=True)
def rps_poll_everybody(job_ids: Sequence[str], shell: Shell) -> Mapping[str, Sighting]:
    """The same of all users' jobs: one squeue that lists them all, and one sacct."""

    def conclude(_job_id: str, opinion: JobStatus | None) -> JobStatus:
        return opinion or Unknown(reason="neither squeue nor sacct knows it")

    return _poll(job_ids, shell, conclude, answers.unguessable())


@hookimpl(trylast=True)
def rps_job_name(session: str) -> str:
    """The session's name, and whose it is."""
    return job_name(session)


def _poll(
    job_ids: Sequence[str],
    shell: Shell,
    conclude: Callable[[str, JobStatus | None], JobStatus],
    unit: str | None = None,
) -> dict[str, Sighting]:
    """`conclude` judges a job that squeue does not show, and of whose end accounting does not tell. With
    `unit`, which sets fields apart, everybody's jobs are asked for, with names and owners."""
    found = {
        job_id: Sighting(status=Unknown(reason=f"{job_id!r} is no id of a Slurm job"))
        for job_id in job_ids
    }
    ours = [job_id for job_id in job_ids if answers.is_job_id(job_id)]
    if not ours:
        return found
    command = commands.everybodys_queue(unit) if unit else commands.queue()
    queue = _ask(shell, command, QUEUE_TIME)
    if isinstance(queue, Unknown):
        return {**found, **dict.fromkeys(ours, Sighting(status=queue))}
    queued = {
        job_id: Sighting(
            status=answers.status_in_queue(job, job_id), name=job.name, owner=job.owner
        )
        for job_id, job in answers.queued_jobs(queue.stdout, unit).items()
    }
    doubtful = [job_id for job_id in ours if _is_doubtful(queued.get(job_id))]
    second = _second_opinions(doubtful, shell, unit)
    for job_id in ours:
        first, opinion = queued.get(job_id), second.get(job_id)
        if opinion is not None and isinstance(opinion.status, Gone):
            found[job_id] = replace(first or opinion, status=opinion.status)
        elif first is not None:
            found[job_id] = first
        else:
            status = conclude(job_id, opinion.status if opinion else None)
            found[job_id] = Sighting(status=status)
    return found


@hookimpl(trylast=True)
def rps_testimony(job: Job, shell: Shell) -> Sequence[Evidence]:
    """Accounting, with the job's steps, for these alone tell what was used; and of a job that waits what
    the controller has.
    """
    if not answers.is_job_id(job.id):
        return []
    told = []
    for command, timeout, read in (
        (commands.waiting(job.id), QUEUE_TIME, answers.told_of_waiting),
        (commands.story(job.id), ACCOUNTING_TIME, answers.told_by_accounting),
    ):
        done = _ask(shell, command, timeout)
        if not isinstance(done, Unknown):
            lines = read(done.stdout)
        elif "Invalid job id" in done.reason:  # it has been forgotten
            lines = []
        else:
            lines = [done.reason]
        told += [Evidence(source=command[0], line=line) for line in lines]
    return told


@hookimpl(trylast=True)
def rps_find_jobs(submissions: Sequence[Submission], shell: Shell) -> Mapping[str, str]:
    """By the comments that squeue shows, and in accounting where squeue shows no such job (any more)."""
    tags = {submission.tag for submission in submissions}
    queue = _answered(shell, commands.queue(answers.TAG_FORMAT))
    found = {tag: job_id for tag in tags if (job_id := answers.queued_with_tag(queue.stdout, tag))}
    missing = [submission for submission in submissions if submission.tag not in found]
    if missing:
        # Where there is no accounting squeue's word counts: it has every job that waits or runs.
        ended = _ask(shell, commands.submitted_since(missing), ACCOUNTING_TIME)
        if not isinstance(ended, Unknown):
            by_name = {job_name(one.name): one.tag for one in missing}
            found |= answers.accounted_with_tags(ended.stdout, by_name)
    return found


@hookimpl(trylast=True)
def rps_tagged_jobs(shell: Shell) -> Sequence[str]:
    """By the comments that squeue shows."""
    return answers.living_tagged(_answered(shell, commands.queue(answers.TAGGED_FORMAT)).stdout)


@hookimpl(trylast=True)
def rps_questions() -> Sequence[Question]:
    """Slurm goes on without its accounting, and so does rps."""
    return commands.questions()


@hookimpl(trylast=True)
def rps_cancel(job: Job, shell: Shell) -> bool:
    """Run scancel, which says only with --verbose that a job was over already."""
    if not answers.is_job_id(job.id):
        raise SchedulerError(f"{job.id!r} is no id of a Slurm job")
    done = shell(*commands.cancel(job.id), timeout=SUBMIT_TIME)
    said = done.stderr + done.stdout
    if "already completing or completed" in said or "Invalid job id specified" in said:
        return False
    if done.code != 0:
        told = refusals.telling(done.stderr, done.stdout)
        raise SchedulerError(
            f"Slurm does not end job {job.id}: {told or f'scancel exits with {done.code}'}",
            refusals.hint(told),
            transient=refusals.is_passing(done.stderr),
        )
    return True


@dataclass(frozen=True, slots=True)
class _Lost:
    """A submission whose fate is not known; `again`: it may be tried again once that is."""

    error: SchedulerError
    again: bool


def _sbatch(spec: SessionSpec, script: Path, shell: Shell) -> str | _Lost:
    """The job's id, or that it got lost.

    Raises:
        SchedulerError: refused.
    """
    try:
        done = shell(*commands.submit(spec, script), timeout=SUBMIT_TIME)
    except SchedulerError as silent:
        if not silent.transient:
            raise
        return _Lost(silent, again=True)
    if done.code == 0:
        job_id = answers.submitted_id(done.stdout)
        if job_id is not None:
            return job_id
        told = refusals.telling(done.stderr, done.stdout) or "nothing at all"
        return _Lost(
            SchedulerError(f"sbatch succeeded and told no job id, but: {told}"), again=False
        )
    told = refusals.telling(done.stderr, done.stdout) or f"sbatch exits with {done.code}"
    error = SchedulerError(
        f"Slurm refused the job: {told}",
        refusals.hint(told),
        transient=refusals.is_passing(done.stderr),
        cause=refusals.cause(told),
    )
    killed = 128 < done.code < 255
    if killed or refusals.may_have_worked(done.stderr):
        return _Lost(error, again=True)
    raise error


def _look_up(spec: SessionSpec, lost: _Lost, shell: Shell) -> str | None:
    """The job's id; None: Slurm answers and has no such job.

    Raises:
        SchedulerError: it cannot be found out.
    """
    time.sleep(SETTLE_TIME)
    queue = _ask(shell, commands.queue(answers.TAG_FORMAT), QUEUE_TIME)
    if not isinstance(queue, Unknown):
        return answers.queued_with_tag(queue.stdout, spec.tag)
    accounting = _ask(shell, commands.submitted(spec), ACCOUNTING_TIME)
    if not isinstance(accounting, Unknown):
        found = answers.accounted_with_tag(accounting.stdout, spec.tag)
        if found is not None:  # that it is not there yet would mean nothing
            return found
    name = job_name(spec.name)
    raise SchedulerError(
        f"{lost.error.message}. Whether the job was submitted all the same cannot be found out: "
        f"{queue.reason}",
        f"If it was, it ends by itself when it starts; `squeue --name={name}` would show it, and "
        f"`scancel --name={name}` ends it.",
        transient=True,
        cause="scheduler-away",
    )


def _ask(shell: Shell, command: Sequence[str], timeout: float) -> Finished | Unknown:
    """The answer, or why there is none. Slurm's commands may fail with exit code 0 and say so on
    stderr alone.
    """
    try:
        done = shell(*command, timeout=timeout)
    except SchedulerError as error:
        return Unknown(reason=error.message, cause="scheduler-away")
    if done.code == 0 and (done.stdout.strip() or not done.stderr.strip()):
        return done
    told = refusals.telling(done.stderr, done.stdout) or f"it exits with {done.code}"
    return Unknown(reason=f"{command[0]} does not answer: {told}", cause="scheduler-away")


def _answered(shell: Shell, command: Sequence[str]) -> Finished:
    """The answer.

    Raises:
        SchedulerError: there is none.
    """
    done = _ask(shell, command, QUEUE_TIME)
    if isinstance(done, Unknown):
        raise SchedulerError(done.reason, transient=True)
    return done


def _is_doubtful(seen: Sighting | None) -> bool:
    if seen is None:
        return True
    return isinstance(seen.status, Gone) and seen.status.outcome is Outcome.CANCELLED


def _second_opinions(job_ids: Sequence[str], shell: Shell, unit: str | None) -> dict[str, Sighting]:
    """What accounting says; nothing of a job that it does not have (yet)."""
    found: dict[str, Sighting] = {}
    for first in range(0, len(job_ids), IDS_AT_ONCE):
        found |= _accounted(job_ids[first : first + IDS_AT_ONCE], shell, unit)
    return found


def _accounted(job_ids: Sequence[str], shell: Shell, unit: str | None) -> dict[str, Sighting]:
    command = (
        commands.everybodys_accounting(job_ids, unit) if unit else commands.accounting(job_ids)
    )
    done = _ask(shell, command, ACCOUNTING_TIME)
    if isinstance(done, Unknown):
        reason = f"squeue shows it no more, and {done.reason}"
        return {job_id: Sighting(status=Unknown(reason=reason)) for job_id in job_ids}
    return {
        job_id: Sighting(status=answers.status_in_accounting(job), name=job.name, owner=job.owner)
        for job_id, job in answers.accounted_jobs(done.stdout, unit).items()
    }
