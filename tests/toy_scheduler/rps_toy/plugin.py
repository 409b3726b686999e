"""Toy for rps. It imports `rps_core.plugin` and nothing else of rps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from rps_core.plugin import (
    AnotherJobError,
    Cause,
    CommandVariables,
    Evidence,
    Finished,
    Gone,
    HealthCheck,
    Host,
    Job,
    JobPhase,
    JobStatus,
    JobTraits,
    Known,
    LogCause,
    Outcome,
    Presence,
    SchedulerError,
    SessionSpec,
    Shell,
    Submission,
    TimeQuery,
    Unknown,
    hookimpl,
    render,
)

RPS_INTERFACE = (1, 0)
_OUTCOMES = {"done": Outcome.COMPLETED, "failed": Outcome.FAILED, "deleted": Outcome.CANCELLED}


@hookimpl(trylast=True)
def rps_scheduler_config() -> Path:
    """Return the scheduler's settings."""
    return Path(__file__).with_name("toy.yaml")


@hookimpl(trylast=True)
def rps_scheduler_presence(host: Host, shell: Shell) -> Presence | None:
    """Return whether toystat answers."""
    if "toysub" not in host.commands:
        return None
    done = shell("toystat")
    return Presence(answers=done.code == 0, seen=f"toysub is there ({host.commands['toysub']})")


@hookimpl(trylast=True)
def rps_command_variables() -> CommandVariables:
    """Return the variable that changes what toystat prints."""
    return CommandVariables(dropped=("TOYSTAT_",))


@hookimpl(trylast=True)
def rps_cluster_name(shell: Shell) -> str:
    """Return Toy's name for its one cluster."""
    return _answer(shell("toyname")).strip()


@hookimpl(trylast=True)
def rps_job_traits() -> JobTraits:
    """Return what sets Toy's jobs apart."""
    return JobTraits(
        job_id_variable="TOY_JOBID",
        templates=Path(__file__).with_name("batch"),
        time_query=TimeQuery(
            argv=("toyleft", "{job_id}"), pattern=r"^(?P<minutes>\d+)m (?P<seconds>\d+)s left$"
        ),
    )


@hookimpl(trylast=True)
def rps_log_causes() -> Sequence[LogCause]:
    """Return what Toy writes into a job's output."""
    return [
        LogCause(cause=Cause.PREEMPTED, pattern=r"^toy: job \d+ makes way for a better job$"),
        LogCause(cause=Cause.TIME_LIMIT, pattern=r"^toy: job \d+ is out of time$"),
    ]


@hookimpl(trylast=True)
def rps_render_batch(spec: SessionSpec) -> str:
    """Return the template with Toy's directives."""
    wanted = {
        "name": _name(spec.name),
        "tag": spec.tag,
        "seconds": int(spec.allocation.walltime.total_seconds()),
        "output": spec.session_dir / "job.log",
    }
    directives = [f"#TOY {key} {value}" for key, value in wanted.items()]
    return render(spec.template, directives, spec.session_dir)


@hookimpl(trylast=True)
def rps_submit(script: Path, shell: Shell) -> str:
    """Return the id that toysub prints."""
    return _answer(shell("toysub", str(script))).split()[-1]


@hookimpl(trylast=True)
def rps_poll(jobs: Sequence[Job], shell: Shell) -> Mapping[str, JobStatus]:
    """Return each job's status, from one toystat."""
    listed = _list(shell)
    return {job.id: _status(job, listed.get(job.id)) for job in jobs}


@hookimpl(trylast=True)
def rps_job_details(job: Job, shell: Shell) -> Sequence[Evidence]:
    """Return Toy's line about the job."""
    fields = _list(shell).get(job.id)
    if fields is None or not _is_shown(job, fields):
        return []
    return [Evidence(source="toystat", line=" ".join(fields))]


@hookimpl(trylast=True)
def rps_find_jobs(submissions: Sequence[Submission], shell: Shell) -> Mapping[str, str]:
    """Return the jobs with these tags."""
    ids = {fields[1]: job_id for job_id, fields in _list(shell).items()}
    return {one.tag: ids[one.tag] for one in submissions if one.tag in ids}


@hookimpl(trylast=True)
def rps_list_jobs(shell: Shell) -> Sequence[str]:
    """Return the jobs of rps that have not ended."""
    return [
        job_id
        for job_id, fields in _list(shell).items()
        if fields[1].startswith("rps:") and fields[2] in ("queued", "running")
    ]


@hookimpl(trylast=True)
def rps_health_checks() -> Sequence[HealthCheck]:
    """Ask for the jobs."""
    return [HealthCheck(argv=("toystat",))]


@hookimpl(trylast=True)
def rps_job_name(session: str) -> str:
    """Return the name in the directives."""
    return _name(session)


@hookimpl(trylast=True)
def rps_cancel(job: Job, shell: Shell) -> bool:
    """Delete the job; toydel waits for its end, and compares only the id."""
    fields = _list(shell).get(job.id)
    if fields is not None and not _is_shown(job, fields):
        raise AnotherJobError(job.replaced(fields[0], owner=None).reason)
    done = shell("toydel", job.id)
    if done.code not in (0, 3):  # 3: the job has ended before
        _answer(done)
    return done.code == 0


def _name(session: str) -> str:
    return f"rps-{session}"


def _answer(done: Finished) -> str:
    if done.code != 0:
        raise SchedulerError(f"{done.argv[0]}: {done.stderr.strip()}")
    return done.stdout


def _list(shell: Shell) -> dict[str, list[str]]:
    """Return Toy's jobs: name, tag, state, node and seconds left, by id."""
    rows = (line.split("\t") for line in _answer(shell("toystat")).splitlines())
    return {job_id: fields for job_id, *fields in rows}


def _is_shown(job: Job, fields: list[str]) -> bool:
    return job.is_shown_as(name=fields[0], tag=fields[1])


def _status(job: Job, fields: list[str] | None) -> JobStatus:
    if fields is None:
        return Unknown(reason="toystat does not list it")
    name, _, state, node, left = fields
    if not _is_shown(job, fields):
        return job.replaced(name, owner=None)
    if state == "queued":
        return Known(phase=JobPhase.PENDING)
    if state == "running":
        return Known(phase=JobPhase.RUNNING, node=node, time_left=timedelta(seconds=int(left)))
    return Gone(outcome=_OUTCOMES.get(state, Outcome.ENDED), evidence=f"toystat: {state}")
