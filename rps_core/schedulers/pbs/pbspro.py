"""PBS Pro and OpenPBS: Torque's commands, with other output.

Jobs are polled by the long text, `qstat -f`, and those of which it says that they have finished with history,
`qstat -xf`: without a history, PBS's default, that prints an error alone and exits with 0. Not by JSON: of
several ids it shows only the first (seen in 23.06), it is invalid with some environments, and it loses the
types of values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.plugin import (
    Allocation,
    Evidence,
    Host,
    Job,
    JobOrigin,
    JobStatus,
    JobTraits,
    ObservedJob,
    Presence,
    SchedulerError,
    SessionSpec,
    Shell,
    Submission,
    Submitted,
    UsageError,
    has_answered,
    hookimpl,
    login_name,
    quoted,
    render,
)
from rps_core.schedulers.pbs import answers, lookup, own_options, polling, refusals, torque
from rps_core.schedulers.pbs import presence as torque_presence
from rps_core.schedulers.pbs.choices import rps_partitions as rps_partitions
from rps_core.schedulers.pbs.directives import (
    fixed_options,
    job_name,
    plain,
    shell_option,
    walltime,
)
from rps_core.schedulers.pbs.presence import rps_cluster_hosts as rps_cluster_hosts
from rps_core.schedulers.pbs.presence import rps_cluster_identity as rps_cluster_identity
from rps_core.schedulers.pbs.presence import rps_cluster_name as rps_cluster_name
from rps_core.schedulers.pbs.product import product_of_qstat
from rps_core.schedulers.pbs.steps import job_origin
from rps_core.schedulers.pbs.steps import rps_current_job as rps_current_job
from rps_core.schedulers.pbs.steps import rps_end_step as rps_end_step
from rps_core.schedulers.pbs.steps import rps_start_step as rps_start_step
from rps_core.schedulers.pbs.torque import rps_health_checks as rps_health_checks
from rps_core.schedulers.pbs.torque import rps_job_name as rps_job_name
from rps_core.schedulers.pbs.traits import PBS_KILL_DELAY, job_traits
from rps_core.schedulers.pbs.traits import rps_command_variables as rps_command_variables
from rps_core.schedulers.pbs.traits import rps_log_causes as rps_log_causes

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

RPS_INTERFACE = (1, 0)

# Exit codes: PBS's error numbers (pbs_error.h), modulo 256.
_ENDED = 35  # the job is in the history
_ENDING = 168  # the job's output is being copied

# Resources that `-l` requests for the whole job: those of pbs_resources(7B) that are a chunk's otherwise.
_WHOLE_JOB = frozenset(
    {"nodes", "ncpus", "mem", "ngpus", "vmem", "mpiprocs", "naccelerators", "arch", "host"}
)


def directives(spec: SessionSpec) -> Iterator[str]:
    """Yield the options of qsub for a session.

    In PBS there is no quality of service, and a feature is a resource with a value (`cpu_type=rome`).

    Raises:
        UsageError: PBS does not have what is requested, no directive can contain a value, or one of the
            user's would break the session.
    """
    wanted = spec.allocation
    if wanted.qos is not None:
        raise UsageError(
            "PBS has no quality of service",
            f"{'Omit --qos' if 'qos' in wanted.given else 'Unset `job.qos`'}; choose a queue with -p.",
        )
    queue = _queue(wanted)
    yield f"-N {job_name(spec.name)}"
    yield from _resources(spec, own_options.resources(spec))
    yield f"-l walltime={walltime(spec)}"
    if queue is not None:
        yield f"-q {plain('queue', queue)}"
    if wanted.account is not None:
        yield f"-A {plain('account', wanted.account)}"
    yield from fixed_options(spec.session_dir)
    yield from shell_option(spec.session_dir)
    yield from wanted.directives


def _queue(wanted: Allocation) -> str | None:
    """Return the queue: in PBS a reservation is one.

    Raises:
        UsageError: both are configured, or both are options. An option replaces what is configured.
    """
    if wanted.reservation is None or wanted.partition is None:
        return wanted.partition if wanted.reservation is None else wanted.reservation
    options = {"partition", "reservation"} & wanted.given
    if len(options) == 1:
        return wanted.reservation if "reservation" in options else wanted.partition
    raise UsageError(
        f"In PBS a reservation is a queue, and a job has one: {wanted.reservation} or {wanted.partition}",
        "Omit --reservation or -p."
        if options
        else "Use --reservation or -p, or unset `job.reservation` or `job.partition`.",
    )


def _resources(spec: SessionSpec, requested: frozenset[str]) -> Iterator[str]:
    """Yield the resources of the nodes.

    PBS takes the first of several requests for a resource, so a resource that the user requests is left out
    here. It refuses a `select` beside requests for the whole job (qsub(1B): `-l ncpus=4`).
    """
    wanted = spec.allocation
    if "select" in requested:
        return
    chunk = _chunk(spec)
    if requested & _WHOLE_JOB:
        if wanted.nodes > 1 or "nodes" in requested:
            chunk = {"nodes": f"{wanted.nodes}:ppn={chunk.pop('ncpus')}", **chunk}
        if wanted.memory_mb:
            chunk["mem"] = f"{wanted.memory_mb * wanted.nodes}mb"
        yield from (f"-l {name}={value}" for name, value in chunk.items() if name not in requested)
        return
    yield f"-l select={wanted.nodes}:{':'.join(f'{name}={value}' for name, value in chunk.items())}"
    if wanted.nodes > 1 and "place" not in requested:
        yield "-l place=scatter"  # else PBS can place all chunks on one node


def _chunk(spec: SessionSpec) -> dict[str, str]:
    """Return the resources of one node, by name."""
    wanted = spec.allocation
    parts = {"ncpus": str(wanted.tasks * (wanted.cpus or 1))}
    if wanted.memory_mb:
        parts["mem"] = f"{wanted.memory_mb}mb"
    if wanted.gpus:
        parts["ngpus"] = str(wanted.gpus)
    if wanted.gpus and wanted.gpu_type is not None:
        if spec.gpu_type_resource is None:
            raise UsageError(
                f"PBS cannot request GPUs of type {wanted.gpu_type!r}: it has no types of its own",
                "Request a number (-g 1). If this site has a resource for the type, set "
                "`scheduler.gpu_type_resource` to its name, or give it with --constraint.",
            )
        parts[spec.gpu_type_resource] = plain("type of GPU", wanted.gpu_type)
    if wanted.constraint is not None:
        for feature in wanted.constraint.split(":"):
            name, equals, value = feature.partition("=")
            if not equals:
                raise UsageError(
                    f"PBS cannot request the feature {feature!r}: it has no value",
                    "Give a resource and its value: --constraint cpu_type=rome",
                )
            parts[plain("resource", name)] = plain("feature", value)
    return parts


@hookimpl(trylast=True)
def rps_job_origin(environment: Mapping[str, str]) -> JobOrigin | None:
    """Return where a job was submitted; None: the environment is that of Torque's job."""
    return (
        None if environment.get("PBS_VERSION", "").startswith("TORQUE") else job_origin(environment)
    )


@hookimpl(trylast=True)
def rps_scheduler_config() -> Traversable:
    """Return the settings beside this module."""
    return Path(__file__).with_name("pbs.yaml")


@hookimpl(trylast=True)
def rps_job_traits() -> JobTraits:
    """Return the traits of PBS's jobs."""
    return job_traits(PBS_KILL_DELAY)


@hookimpl(trylast=True)
def rps_render_batch(spec: SessionSpec) -> str:
    """Return the template with `#PBS` lines."""
    lines = [f"#PBS {directive}" for directive in directives(spec)]
    return render(spec.template, lines, spec.session_dir)


@hookimpl(trylast=True)
def rps_submit(spec: SessionSpec, script: Path, shell: Shell) -> Submitted:
    """Run qsub; without an answer, look the job up by its name."""
    return torque.submit(spec, script, shell, _find, refusals.PBS)


def _find(name: str, shell: Shell) -> list[str] | None:
    for options in (("-x",), ()):  # with the history, as far as there is one
        try:
            done = shell(
                "qselect", *options, "-u", login_name(), "-N", name, timeout=lookup.TIMEOUT
            )
        except SchedulerError:
            return None
        if has_answered(done):
            return answers.ids_in(done.stdout)
    return None


@hookimpl(trylast=True)
def rps_find_jobs(submissions: Sequence[Submission], shell: Shell) -> Mapping[str, str]:
    """Look for the jobs' names, also in the history if PBS keeps one."""
    return lookup.find_jobs(submissions, shell, _find)


@hookimpl(trylast=True)
def rps_list_jobs(shell: Shell) -> Sequence[str]:
    """Look for jobs with a name of rps."""
    return lookup.list_jobs(shell, without_qselect=None)


@hookimpl(trylast=True)
def rps_poll(jobs: Sequence[Job], shell: Shell) -> Mapping[str, JobStatus]:
    """Run one `qstat` for all ids; a second one, with history, for those that have finished."""
    return polling.poll(jobs, shell, _ask)


@hookimpl(trylast=True)
def rps_poll_all_users(job_ids: Sequence[str], shell: Shell) -> Mapping[str, ObservedJob]:
    """Run one `qstat` for ids of any user, without the servers' names.

    `torque.rps_poll_all_users` has the reason.
    """
    return polling.poll_all_users(job_ids, shell, _ask)


def _ask(ids: Sequence[str], shell: Shell) -> polling.Answer:
    done = shell("qstat", "-f", *ids, timeout=lookup.TIMEOUT)
    shown, denied = answers.text_jobs(done.stdout), answers.denied(done.stderr)
    finished = answers.finished(done.stderr)
    again = [one for one in ids if any(answers.same_job(one, other) for other in finished)]
    if again:
        history = shell("qstat", "-xf", *again, timeout=lookup.TIMEOUT)
        shown += answers.text_jobs(history.stdout)
    return polling.Answer(shown, denied, done, finished)


@hookimpl(trylast=True)
def rps_job_details(job: Job, shell: Shell) -> Sequence[Evidence]:
    """Return what PBS's `qstat` and `tracejob` show.

    The history is asked for only where PBS says that the job is in it. PBS has no `-1`: "qstat: conflicting
    options".
    """
    if not answers.is_id(job.id):
        return []
    done = shell("qstat", "-f", job.id, timeout=lookup.TIMEOUT)
    if answers.finished(done.stderr):
        done = shell("qstat", "-xf", job.id, timeout=lookup.TIMEOUT)
    return torque.details(job, done, shell)


@hookimpl(trylast=True)
def rps_scheduler_presence(
    host: Host, environment: Mapping[str, str], shell: Shell
) -> Presence | None:
    """Detect PBS as Torque is detected, if `qstat` is PBS's."""
    if "qsub" not in host.commands or product_of_qstat(shell) != "pbs":
        return None
    return torque_presence.presence(host, environment, shell, "PBS")


@hookimpl(trylast=True)
def rps_cancel(job: Job, shell: Shell) -> bool:
    """Run qdel, after qstat showed that the id is this job's.

    A running job gets SIGTERM, then SIGKILL a few seconds later.
    """
    if not answers.is_id(job.id):
        raise SchedulerError(f"{job.id!r} is not a job id of this scheduler")
    if polling.has_ended(job, shell, _ask):
        return False
    done = shell("qdel", job.id, timeout=lookup.CHANGE_TIMEOUT)
    if done.code == 0:
        return True
    if done.code in (_ENDED, _ENDING, 153):
        return False
    message = refusals.words(done)
    raise SchedulerError(
        f"qdel did not end the job (exit {done.code}):{quoted(message or ['no message'])}",
        transient=done.code in refusals.AWAY,
    )
