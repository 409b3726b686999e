"""Find jobs of Torque and PBS by their names (`directives.job_name`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from rps_core.plugin import (
    SchedulerError,
    Shell,
    Submission,
    complains,
    has_answered,
    login_name,
)
from rps_core.schedulers.pbs import answers
from rps_core.schedulers.pbs.directives import is_job_name, job_name

# Returns the ids of the jobs of a name; None: no command answers.
Find: TypeAlias = Callable[[str, Shell], list[str] | None]

# Seconds: the commands wait for a frozen server without a limit. A question can be repeated, what changes
# something cannot.
TIMEOUT = 20.0
CHANGE_TIMEOUT = 60.0


def find(name: str, shell: Shell) -> list[str] | None:
    """Return the ids of the user's jobs of this name; None: no command answers.

    Only the user's: other users can see the name in the queue, and use it too.
    """
    user = login_name()
    for command in (("qselect", "-u", user, "-N", name), ("qstat", "-f", "-1")):
        try:
            done = shell(*command, timeout=TIMEOUT)
        except SchedulerError:
            continue  # Slurm has a qstat, and no qselect
        if command[0] == "qselect":
            if has_answered(done):
                return answers.ids_in(done.stdout)
            continue
        jobs = answers.text_jobs(done.stdout)
        if done.code in (0, 153) and (jobs or not complains(done)):
            return [
                job["Job_Id"]
                for job in jobs
                if job.get("Job_Name") == name and answers.owner(job) == user
            ]
    return None


def find_jobs(submissions: Sequence[Submission], shell: Shell, look: Find) -> dict[str, str]:
    """Return the ids of the jobs of these submissions, by their tags.

    Raises:
        SchedulerError: no command answers.
    """
    ids: dict[str, str] = {}
    for submission in submissions:
        found = look(job_name(submission.name), shell)
        if found is None:
            raise SchedulerError("neither qselect nor qstat answers", transient=True)
        if found:
            ids[submission.tag] = found[0]
    return ids


def list_jobs(shell: Shell, without_qselect: Sequence[str] | None = ("-f", "-1")) -> list[str]:
    """Return the ids of the user's living jobs that have a name of rps.

    qselect lists the user's jobs, qstat shows them. Slurm's wrappers have no qselect, and their qstat shows
    the jobs of all users.

    Args:
        without_qselect: the options of qstat that lists all jobs; None: qselect is part of the product.

    Raises:
        SchedulerError: one of the two does not answer.
    """
    ids: list[str] = []
    try:
        selected = shell("qselect", "-u", login_name(), timeout=TIMEOUT)
    except SchedulerError as error:
        if error.transient or without_qselect is None:
            raise
    else:
        if not has_answered(selected):
            message = answers.complaint(selected.stdout, selected.stderr)
            raise SchedulerError(f"qselect: {message} (exit {selected.code})", transient=True)
        ids = answers.ids_in(selected.stdout)
        if not ids:
            return []
    done = shell("qstat", *(["-f", *ids] if ids else without_qselect or ()), timeout=TIMEOUT)
    over = answers.denied(done.stderr) or answers.finished(done.stderr)
    if not (done.stdout.strip() or over or (done.code in (0, 153) and not complains(done))):
        message = answers.complaint(done.stdout, done.stderr)
        raise SchedulerError(f"qstat: {message} (exit {done.code})", transient=True)
    return [
        job["Job_Id"]
        for job in answers.text_jobs(done.stdout)
        if is_job_name(job.get("Job_Name", ""))
        and job.get("job_state") not in ("C", "F")
        and answers.owner(job) == login_name()
    ]
