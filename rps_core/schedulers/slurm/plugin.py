"""Slurm's plugin: the hooks.

`directives` writes the options of a job, `commands` the argument lists, and `answers` parses the output.
`refusals` explains a failed command, `reasons` a waiting job. `forgotten` concludes the status of a job that
Slurm does not show, and `choices` lists partitions and accounts.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rps_core.plugin import (
    AnotherJobError,
    Cause,
    Evidence,
    Gone,
    HealthCheck,
    Job,
    JobStatus,
    ObservedJob,
    Outcome,
    SchedulerError,
    SessionSpec,
    Shell,
    Submission,
    Submitted,
    Unknown,
    dataclass,
    has_answered,
    hookimpl,
    login_name,
    quoted,
    render,
)
from rps_core.schedulers.slurm import answers, commands, forgotten, refusals
from rps_core.schedulers.slurm.choices import rps_allocations as rps_allocations
from rps_core.schedulers.slurm.choices import rps_partitions as rps_partitions
from rps_core.schedulers.slurm.directives import check_template, directives, job_name
from rps_core.schedulers.slurm.presence import rps_cluster_hosts as rps_cluster_hosts
from rps_core.schedulers.slurm.presence import rps_cluster_identity as rps_cluster_identity
from rps_core.schedulers.slurm.presence import rps_cluster_name as rps_cluster_name
from rps_core.schedulers.slurm.presence import rps_scheduler_presence as rps_scheduler_presence
from rps_core.schedulers.slurm.steps import rps_current_job as rps_current_job
from rps_core.schedulers.slurm.steps import rps_end_step as rps_end_step
from rps_core.schedulers.slurm.steps import rps_job_origin as rps_job_origin
from rps_core.schedulers.slurm.steps import rps_start_step as rps_start_step
from rps_core.schedulers.slurm.traits import rps_command_variables as rps_command_variables
from rps_core.schedulers.slurm.traits import rps_job_traits as rps_job_traits
from rps_core.schedulers.slurm.traits import rps_log_causes as rps_log_causes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.resources.abc import Traversable

    from rps_core.plugin import Finished

RPS_INTERFACE = (1, 0)
_Asked = TypeVar("_Asked")

# Seconds. With an unreachable controller sbatch gives up after 29 s and squeue after 49 s. A controller that
# takes no job now has sbatch try 15 times more and sleep 120 s in between (src/sbatch/sbatch.c, MAX_RETRIES).
# With a database that hangs sacct and sacctmgr give up after 45 s, and rps can do without their answers.
SUBMIT_TIME = 180.0
CANCEL_TIME = 40.0
QUEUE_TIME = 60.0
ACCOUNTING_TIME = 15.0
IDS_AT_ONCE = 5000  # of one sacct: Linux limits an argument to 128 KiB (execve(2), MAX_ARG_STRLEN)
SETTLE_TIME = 2.0  # for an interrupted submission to arrive before rps looks it up


@hookimpl(trylast=True)
def rps_scheduler_config() -> Traversable:
    """Return the settings beside this module."""
    return Path(__file__).with_name("slurm.yaml")


@hookimpl(trylast=True)
def rps_default_allocation(shell: Shell) -> str | None:
    """Return the user's default account; None: accounting is off or does not answer.

    sbatch uses the default by itself, and reports if an account is required.
    """
    try:
        done = shell(*commands.default_account(), timeout=ACCOUNTING_TIME)
    except SchedulerError:
        return None
    # One word: a site's wrapper may print a notice as well.
    lines = [
        line.strip()
        for line in done.stdout.splitlines()
        if len(line.split()) == 1 and line.isprintable()
    ]
    return lines[-1] if done.code == 0 and lines and lines[-1] != "(null)" else None


@hookimpl(trylast=True)
def rps_render_batch(spec: SessionSpec) -> str:
    """Return the template with `#SBATCH` lines."""
    lines = [f"#SBATCH {directive}" for directive in directives(spec)]
    script = render(spec.template, lines, spec.session_dir)
    check_template(spec, script.split("\n")[1 + len(lines) :])
    return script


@hookimpl(trylast=True)
def rps_submit(spec: SessionSpec, script: Path, shell: Shell) -> Submitted:
    """Run sbatch and return the job's id, with what sbatch printed beside it.

    If sbatch got no answer, the job is looked up by its tag, and submitted again once, only if Slurm does not
    have it.
    """
    retried = False
    while True:
        outcome = _sbatch(spec, script, shell)
        if isinstance(outcome, Submitted):
            return outcome
        found = _look_up(spec, outcome, shell)
        if found is not None:
            return Submitted(job_id=found, words=outcome.words)
        if retried or not outcome.again:
            raise outcome.error
        retried = True


@hookimpl(trylast=True)
def rps_poll(jobs: Sequence[Job], shell: Shell) -> Mapping[str, JobStatus]:
    """Run one squeue for all jobs of the user, and one sacct for some.

    That is for jobs that squeue does not list or shows as cancelled: sacct shows who cancelled a job. Both
    show which job an id is: a slurmctld that lost its state begins the ids again.
    """
    found: dict[str, JobStatus] = {
        job.id: Unknown(reason=f"{job.id!r} is not a Slurm job id")
        for job in jobs
        if not answers.is_job_id(job.id)
    }
    asked = {job.id: job for job in jobs if answers.is_job_id(job.id)}
    if not asked:
        return found
    queue = _ask(shell, commands.queue(), QUEUE_TIME)
    if isinstance(queue, Unknown):
        return {**found, **dict.fromkeys(asked, queue)}
    shown = answers.queued_jobs(queue.stdout)
    for job_id, job in asked.items():
        if job_id in shown and answers.is_shown(job, shown[job_id]):
            found[job_id] = answers.status_in_queue(shown[job_id], job_id)
    doubtful = [job for job in asked.values() if _is_doubtful(found.get(job.id))]
    second = _accounted(doubtful, shell)
    found |= {job_id: status for job_id, status in second.items() if isinstance(status, Gone)}
    left = [job for job in doubtful if job.id not in found]
    others = _others([job.id for job in left if job.id not in shown], shell) if left else {}
    for job in left:
        other = shown.get(job.id) or others.get(job.id)
        if other is None:
            found[job.id] = forgotten.conclude(job, second.get(job.id))
        else:
            found[job.id] = job.replaced(other.name, other.owner or login_name())
    return found


@hookimpl(trylast=True)
def rps_poll_all_users(job_ids: Sequence[str], shell: Shell) -> Mapping[str, ObservedJob]:
    """Run one squeue that lists the jobs of all users, and one sacct."""
    found = {
        job_id: ObservedJob(status=Unknown(reason=f"{job_id!r} is not a Slurm job id"))
        for job_id in job_ids
    }
    asked = [job_id for job_id in job_ids if answers.is_job_id(job_id)]
    if not asked:
        return found
    unit = answers.random_separator()
    queue = _ask(shell, commands.all_users_queue(unit), QUEUE_TIME)
    if isinstance(queue, Unknown):
        return {**found, **dict.fromkeys(asked, ObservedJob(status=queue))}
    queued = {
        job_id: ObservedJob(
            status=answers.status_in_queue(job, job_id), name=job.name, owner=job.owner
        )
        for job_id, job in answers.queued_jobs(queue.stdout, unit).items()
    }
    doubtful = [
        job_id
        for job_id in asked
        if _is_doubtful(queued[job_id].status if job_id in queued else None)
    ]
    second = _accounted_of_all_users(doubtful, shell, unit)
    for job_id in asked:
        first, opinion = queued.get(job_id), second.get(job_id)
        if opinion is not None and isinstance(opinion.status, Gone):
            found[job_id] = replace(first or opinion, status=opinion.status)
        elif first is not None:
            found[job_id] = first
        else:
            silent = Unknown(reason="neither squeue nor sacct lists the job")
            found[job_id] = ObservedJob(status=opinion.status if opinion else silent)
    return found


@hookimpl(trylast=True)
def rps_job_name(session: str) -> str:
    """Return the name that `rps_submit` gives the session's job."""
    return job_name(session)


@hookimpl(trylast=True)
def rps_job_details(job: Job, shell: Shell) -> Sequence[Evidence]:
    """Return accounting's lines of a job, and the controller's while it waits.

    The steps are included: only they have the used memory. Another job of the same id has no lines.
    """
    if not answers.is_job_id(job.id):
        return []
    evidence = []
    for command, timeout, read in (
        (commands.waiting(job.id), QUEUE_TIME, partial(answers.waiting_details, job)),
        (commands.story(job), ACCOUNTING_TIME, answers.accounting_details),
    ):
        done = _ask(shell, command, timeout)
        if not isinstance(done, Unknown):
            lines = read(done.stdout)
        elif "Invalid job id" in done.reason:  # slurmctld has forgotten it
            lines = []
        else:
            lines = [done.reason]
        evidence += [Evidence(source=command[0], line=line) for line in lines]
    return evidence


@hookimpl(trylast=True)
def rps_find_jobs(submissions: Sequence[Submission], shell: Shell) -> Mapping[str, str]:
    """Look for the tags in the comments that squeue shows, then in accounting."""
    tags = {submission.tag for submission in submissions}
    queue = _answered(shell, commands.queue(answers.TAG_FORMAT))
    found = {tag: job_id for tag in tags if (job_id := answers.queued_with_tag(queue.stdout, tag))}
    missing = [submission for submission in submissions if submission.tag not in found]
    if missing:
        # Without accounting squeue decides: it lists every job that waits or runs.
        ended = _ask(shell, commands.submitted_since(missing), ACCOUNTING_TIME)
        if not isinstance(ended, Unknown):
            by_name = {job_name(one.name): one.tag for one in missing}
            found |= answers.accounted_with_tags(ended.stdout, by_name)
    return found


@hookimpl(trylast=True)
def rps_list_jobs(shell: Shell) -> Sequence[str]:
    """Return the jobs with a tag of rps among the comments that squeue shows."""
    return answers.living_tagged(_answered(shell, commands.queue(answers.TAGGED_FORMAT)).stdout)


@hookimpl(trylast=True)
def rps_health_checks() -> Sequence[HealthCheck]:
    """Return a check for each command.

    Accounting is not needed: Slurm and rps go on without it.
    """
    return commands.health_checks()


@hookimpl(trylast=True)
def rps_cancel(job: Job, shell: Shell) -> bool:
    """Run scancel, which compares the user and the name, by itself just before it cancels the id.

    Its message shows that the job had ended before.
    """
    if not answers.is_job_id(job.id):
        raise SchedulerError(f"{job.id!r} is not a Slurm job id")
    done = shell(*commands.cancel(job.id, job.name), timeout=CANCEL_TIME)
    if refusals.is_another(done):
        # The user may have renamed it (`scontrol update`): then its comment still has the tag.
        queue = _answered(shell, commands.queue())
        shown = answers.queued_jobs(queue.stdout).get(job.id)
        if shown is None or not answers.is_shown(job, shown):
            other = shown or _others([job.id], shell).get(job.id)
            if other is None:  # it has ended meanwhile
                return False
            raise AnotherJobError(job.replaced(other.name, other.owner or login_name()).reason)
        done = shell(*commands.cancel(job.id, str(shown.name)), timeout=CANCEL_TIME)
        if refusals.is_another(done):
            raise SchedulerError(
                f"scancel did not find job {job.id}, which squeue shows", transient=True
            )
    if refusals.has_ended(done.stderr + done.stdout):
        return False
    if done.code != 0:
        refusal = refusals.refusal(done.stderr, done.stdout)
        lines = refusal.lines or (f"scancel: exit code {done.code}",)
        raise SchedulerError(
            f"Slurm did not cancel job {job.id}:{quoted(lines)}",
            refusal.hint,
            transient=refusals.is_passing(done.stderr),
        )
    return True


@dataclass(frozen=True, slots=True)
class _Lost:
    """A submission of unknown outcome.

    `again`: it may be repeated if Slurm does not have the job. `words`: what sbatch printed.
    """

    error: SchedulerError
    again: bool
    words: tuple[str, ...] = ()


def _sbatch(spec: SessionSpec, script: Path, shell: Shell) -> Submitted | _Lost:
    """Run sbatch; return the job's id and what sbatch printed beside it, or that the outcome is unknown.

    Raises:
        SchedulerError: Slurm refused the job, or sbatch cannot be run.
    """
    try:
        done = shell(*commands.submit(spec, script), timeout=SUBMIT_TIME)
    except SchedulerError as silent:
        if not silent.transient:
            raise
        return _Lost(silent, again=True)
    ids = answers.submitted_ids(done.stdout)
    printed = refusals.words(done.stderr, done.stdout)
    said = tuple(line for line in printed if not set(answers.submitted_ids(line)) & set(ids))
    if done.code == 0:
        if len(ids) == 1:
            return Submitted(job_id=ids[0], words=said)
        what = "more than one number" if ids else "no job id"
        error = SchedulerError(f"sbatch printed {what}:{quoted(printed or ['no output'])}")
        return _Lost(error, again=False, words=said)
    refusal = refusals.refusal(done.stderr, done.stdout)
    error = SchedulerError(
        f"Slurm refused the job:{quoted(refusal.lines or (f'sbatch: exit code {done.code}',))}",
        refusal.hint,
        transient=refusals.is_passing(done.stderr),
        cause=refusal.cause,
    )
    if ids:  # a site's wrapper failed after sbatch had submitted the job
        return _Lost(error, again=False, words=said)
    killed = 128 < done.code < 255
    if killed or refusals.may_have_worked(done.stderr):
        return _Lost(error, again=True, words=said)
    raise error


def _look_up(spec: SessionSpec, lost: _Lost, shell: Shell) -> str | None:
    """Return the job's id; None: Slurm answers and has no such job.

    Raises:
        SchedulerError: Slurm does not answer.
    """
    time.sleep(SETTLE_TIME)
    queue = _ask(shell, commands.queue(answers.TAG_FORMAT), QUEUE_TIME)
    if not isinstance(queue, Unknown):
        return answers.queued_with_tag(queue.stdout, spec.tag)
    accounting = _ask(shell, commands.submitted(spec), ACCOUNTING_TIME)
    if not isinstance(accounting, Unknown):
        found = answers.accounted_with_tag(accounting.stdout, spec.tag)
        if found is not None:  # its absence is no evidence: accounting is behind
            return found
    name = job_name(spec.name)
    raise SchedulerError(
        f"{lost.error.message}\nCould not find out whether the job was submitted: {queue.reason}",
        f"If it was, it ends by itself when it starts. `squeue --name={name}` shows it, "
        f"`scancel --name={name}` cancels it.",
        transient=True,
        cause=Cause.SCHEDULER_AWAY,
    )


def _ask(shell: Shell, command: Sequence[str], timeout: float) -> Finished | Unknown:
    """Run a command; return its output, or why there is none.

    Slurm's commands may fail with exit code 0 and an error on stderr only.
    """
    try:
        done = shell(*command, timeout=timeout)
    except SchedulerError as error:
        return Unknown(reason=error.message, cause=Cause.SCHEDULER_AWAY)
    if has_answered(done):
        return done
    message = refusals.message(done.stderr, done.stdout) or f"exit code {done.code}"
    return Unknown(reason=f"{command[0]} does not answer: {message}", cause=Cause.SCHEDULER_AWAY)


def _answered(shell: Shell, command: Sequence[str]) -> Finished:
    """Run a command; return its output.

    Raises:
        SchedulerError: there is none.
    """
    done = _ask(shell, command, QUEUE_TIME)
    if isinstance(done, Unknown):
        raise SchedulerError(done.reason, transient=True)
    return done


def _is_doubtful(status: JobStatus | None) -> bool:
    if status is None:
        return True
    return isinstance(status, Gone) and status.outcome is Outcome.CANCELLED


def _accounted(jobs: Sequence[Job], shell: Shell) -> dict[str, JobStatus]:
    """Return accounting's statuses of this user's jobs, without those that it does not have yet."""
    found: dict[str, JobStatus] = {}
    for some in _in_parts(jobs):
        done = _ask(shell, commands.accounting([job.id for job in some]), ACCOUNTING_TIME)
        if isinstance(done, Unknown):
            silent = Unknown(reason=f"squeue no longer lists the job, and {done.reason}")
            found |= {job.id: silent for job in some}
            continue
        shown = answers.own_accounted_jobs(done.stdout)
        for job in some:
            runs = [one for one in shown.get(job.id, ()) if answers.is_shown(job, one)]
            if runs:  # the last: a job that was requeued has several
                found[job.id] = answers.status_in_accounting(runs[-1])
    return found


def _accounted_of_all_users(
    job_ids: Sequence[str], shell: Shell, unit: str
) -> dict[str, ObservedJob]:
    """Return accounting's statuses of any user's jobs, without those that it does not have yet."""
    found: dict[str, ObservedJob] = {}
    for some in _in_parts(job_ids):
        done = _ask(shell, commands.all_users_accounting(some, unit), ACCOUNTING_TIME)
        if isinstance(done, Unknown):
            reason = f"squeue no longer lists the job, and {done.reason}"
            found |= {job_id: ObservedJob(status=Unknown(reason=reason)) for job_id in some}
            continue
        found |= {
            job_id: ObservedJob(
                status=answers.status_in_accounting(job), name=job.name, owner=job.owner
            )
            for job_id, job in answers.accounted_jobs(done.stdout, unit).items()
        }
    return found


def _in_parts(many: Sequence[_Asked]) -> list[Sequence[_Asked]]:
    return [many[first : first + IDS_AT_ONCE] for first in range(0, len(many), IDS_AT_ONCE)]


def _others(job_ids: Sequence[str], shell: Shell) -> Mapping[str, answers.Queued]:
    """Return the jobs of other users that have these ids, as far as squeue shows them."""
    if not job_ids:
        return {}
    unit = answers.random_separator()
    one = job_ids[0] if len(job_ids) == 1 else None
    command = commands.one_of_any_user(one, unit) if one else commands.all_users_queue(unit)
    done = _ask(shell, command, QUEUE_TIME)
    return {} if isinstance(done, Unknown) else answers.queued_jobs(done.stdout, unit)
