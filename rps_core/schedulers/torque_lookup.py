"""Jobs of Torque and PBS by their names, which are made of the sessions'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from rps_core.plugin import SchedulerError, Shell, Submission, login_name
from rps_core.schedulers import torque_answers as answers
from rps_core.schedulers.torque_directives import is_job_name, job_name

# Given a job's name, the ids of the jobs that have it; None where nobody says.
Find: TypeAlias = Callable[[str, Shell], list[str] | None]

TIMEOUT = 60.0  # seconds: none of the commands has a time limit of its own


def find(name: str, shell: Shell) -> list[str] | None:
    """The ids of the user's jobs of this name (others read it in the queue, and can take it too); None where
    nobody says."""
    user = login_name()
    for command in (("qselect", "-u", user, "-N", name), ("qstat", "-f", "-1")):
        try:
            done = shell(*command, timeout=TIMEOUT)
        except SchedulerError:
            continue  # Slurm has a qstat, and no qselect
        if done.code == 0 and command[0] == "qselect":
            return [line.strip() for line in done.stdout.split("\n") if answers.is_id(line.strip())]
        jobs = answers.text_jobs(done.stdout)
        if done.code in (0, 153) and (jobs or not done.stderr.strip()):
            return [
                job["Job_Id"]
                for job in jobs
                if job.get("Job_Name") == name and answers.owner(job) == user
            ]
    return None


def find_jobs(submissions: Sequence[Submission], shell: Shell, look: Find) -> dict[str, str]:
    """The ids of the jobs of these submissions by their tags, for Torque and PBS.

    Raises:
        SchedulerError: nobody says.
    """
    ids: dict[str, str] = {}
    for submission in submissions:
        found = look(job_name(submission.name), shell)
        if found is None:
            raise SchedulerError("neither qselect nor qstat answers", transient=True)
        if found:
            ids[submission.tag] = found[0]
    return ids


def tagged_jobs(shell: Shell) -> list[str]:
    """The ids of the user's living jobs that have such a name: qselect lists the user's, qstat shows them.
    Slurm has no qselect, and its qstat shows those of everybody.

    Raises:
        SchedulerError: one of the two does not answer.
    """
    ids: list[str] = []
    try:
        selected = shell("qselect", "-u", login_name(), timeout=TIMEOUT)
    except SchedulerError as error:
        if error.transient:
            raise
    else:
        if selected.code != 0:
            told = answers.complaint(selected.stdout, selected.stderr)
            raise SchedulerError(f"qselect: {told} (exit {selected.code})", transient=True)
        ids = [line.strip() for line in selected.stdout.split("\n") if answers.is_id(line.strip())]
        if not ids:
            return []
    options = ["-f", *ids] if ids else ["-f", "-1"]
    done = shell("qstat", *options, timeout=TIMEOUT)
    if done.code not in (0, 153) and not done.stdout.strip():
        told = answers.complaint(done.stdout, done.stderr)
        raise SchedulerError(f"qstat: {told} (exit {done.code})", transient=True)
    return [
        job["Job_Id"]
        for job in answers.text_jobs(done.stdout)
        if is_job_name(job.get("Job_Name", ""))
        and job.get("job_state") not in ("C", "F")
        and answers.owner(job) == login_name()
    ]
