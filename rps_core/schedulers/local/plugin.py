"""The scheduler of a machine without one: jobs are supervised process trees.

A job's id identifies one process (pid, start time, boot, host). So jobs are polled without a daemon, and no
other process is mistaken for the job. See `rps_core.node.supervisor`.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.plugin import (
    Evidence,
    Gone,
    HealthCheck,
    Job,
    JobPhase,
    JobStatus,
    JobTraits,
    Known,
    Outcome,
    SchedulerError,
    Submission,
    Unknown,
    hookimpl,
    noted_job_id,
    render,
    session_walltime,
    start_supervisor,
    supervised_job,
    supervised_jobs,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.resources.abc import Traversable

    from rps_core.plugin import SessionSpec, SupervisedJob

RPS_INTERFACE = (1, 0)

START_TIME = 20.0  # seconds for a supervisor to report its start, on a loaded machine
CANCEL_TIME = 20.0  # seconds for it to end its job, before rps kills all processes


@hookimpl(trylast=True)
def rps_scheduler_config() -> Traversable:
    """Return the settings beside this module."""
    return Path(__file__).with_name("local.yaml")


@hookimpl(trylast=True)
def rps_job_traits() -> JobTraits:
    """Return the traits of a supervisor's job.

    Its walltime limit cannot be changed.
    """
    return JobTraits(job_id_variable="RPS_JOB_ID", walltime_can_change=False)


@hookimpl(trylast=True)
def rps_render_batch(spec: SessionSpec) -> str:
    """Return the template, without directives."""
    return render(spec.template, (), spec.session_dir)


@hookimpl(trylast=True)
def rps_submit(spec: SessionSpec, script: Path) -> str:
    """Start a supervisor, which runs `batch.sh` of the session's directory."""
    walltime = spec.allocation.walltime.total_seconds()
    try:
        return start_supervisor(script.parent, walltime, START_TIME)
    except OSError as error:
        raise SchedulerError(
            f"Could not start the job's supervisor: {error}", f"See {script.parent / 'job.log'}"
        ) from None


@hookimpl(trylast=True)
def rps_poll(jobs: Sequence[Job]) -> Mapping[str, JobStatus]:
    """Check each job's supervisor, and the file that it leaves at its end."""
    return {job.id: _poll(job) for job in jobs}


@hookimpl(trylast=True)
def rps_job_details(job: Job) -> Sequence[Evidence]:
    """Return the supervisor's record of the job's end, or that there is none."""
    status = _poll(job)
    return [Evidence(source="supervisor", line=status.evidence)] if isinstance(status, Gone) else []


@hookimpl(trylast=True)
def rps_find_jobs(submissions: Sequence[Submission]) -> Mapping[str, str]:
    """Return the ids that the supervisors recorded.

    They do so before the job starts.
    """
    noted = {submission.tag: noted_job_id(submission.session_dir) for submission in submissions}
    return {tag: job_id for tag, job_id in noted.items() if job_id}


@hookimpl(trylast=True)
def rps_list_jobs() -> Sequence[str]:
    """Return this user's supervisors that run on this machine."""
    return supervised_jobs()


@hookimpl(trylast=True)
def rps_health_checks() -> Sequence[HealthCheck]:
    """Return no checks: there is no scheduler."""
    return ()


@hookimpl(trylast=True)
def rps_cancel(job: Job) -> bool:
    """Ask the supervisor to end the job.

    If it does not, kill it and all processes below it.
    """
    found = supervised_job(job.id)
    if found is None:
        raise SchedulerError(f"{job.id!r} is not a job id of the local scheduler")
    if not found.supervises(job.session_dir):
        if found.is_elsewhere() and _recorded_end(job) is None:
            raise SchedulerError(
                f"This job runs on {found.host}", f"Log in to {found.host} to stop it."
            )
        return False
    if not found.end(CANCEL_TIME):
        raise SchedulerError(f"Could not end the job's supervisor, process {found.pid}")
    return True


def _poll(job: Job) -> JobStatus:
    found = supervised_job(job.id)
    if found is None:
        return Unknown(reason=f"{job.id!r} is not a job id of the local scheduler")
    if found.supervises(job.session_dir):  # so it is this machine, even if it was renamed
        return Known(
            phase=JobPhase.RUNNING,
            node=found.host,
            time_left=_time_left(job, found),
        )
    # In this order: the supervisor writes exit.json before it ends.
    end = _recorded_end(job)
    if end is not None:
        return end
    if found.is_elsewhere():
        return Unknown(reason=f"this job runs on {found.host}; run the command there")
    return Gone(outcome=Outcome.ENDED, evidence=found.why_gone())


def _time_left(job: Job, found: SupervisedJob) -> timedelta | None:
    walltime = session_walltime(job.session_dir)
    return None if walltime is None else timedelta(seconds=max(0, round(walltime - found.age())))


def _recorded_end(job: Job) -> Gone | None:
    """Return the end from exit.json, or None.

    The supervisor has then not written it yet, or was killed.
    """
    try:
        record = json.loads((job.session_dir / "exit.json").read_bytes())
        code, by_signal = record["exit_code"], record["signal"]
        how = f"signal {by_signal}" if by_signal else f"exit code {code}"
        return Gone(
            outcome=Outcome(record["outcome"]),
            evidence=f"exit.json: {record['outcome']}, {how}",
            exit_code=code,
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
