"""Distinguish a session's job from another with its id, by what qstat shows.

A server that lost its jobs begins the ids again (`pbs_server -t create`). qdel compares nothing but the
id, so the job is looked at just before.
"""

from __future__ import annotations

from rps_core.plugin import Job, JobStatus, Unknown, login_name
from rps_core.schedulers.pbs import answers
from rps_core.schedulers.pbs.answers import Attributes
from rps_core.schedulers.pbs.forgotten import OUTPUT
from rps_core.schedulers.pbs.states import status_of, time_of


def status_if_own(job: Job, shown: Attributes) -> JobStatus:
    """Return the status of a session's job; Unknown of another job with its id."""
    owner, name = answers.owner(shown), shown.get("Job_Name")
    if not owner or name is None:
        return Unknown(reason=f"qstat does not show the name and the owner of job {job.id}")
    if owner == login_name() and _is_shown(job, shown):
        return status_of(shown)
    return job.replaced(name, owner)


def _is_shown(job: Job, shown: Attributes) -> bool:
    """Return whether the attributes are of this job, by its name or its output file.

    Its user may have renamed it (`qalter -N`).
    """
    output = shown.get("Output_Path", "").partition(":")[2]  # after the host
    tag = job.tag if output == str(job.session_dir / OUTPUT) else None
    return job.is_shown_as(
        name=shown.get("Job_Name"), tag=tag, submitted=time_of(shown.get("ctime"))
    )
