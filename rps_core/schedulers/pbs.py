"""PBS Pro and OpenPBS: Torque's commands, with answers of their own.

Polled by the long text with history, `qstat -xf`. Not by JSON: of several ids it shows the first alone
(seen in 23.06), and it is invalid with some environments and loses the types of values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.plugin import (
    Evidence,
    Job,
    JobStatus,
    Question,
    SchedulerError,
    SessionSpec,
    Shell,
    Sighting,
    Submission,
    UsageError,
    hookimpl,
    login_name,
    render,
)
from rps_core.schedulers import torque
from rps_core.schedulers import torque_answers as answers
from rps_core.schedulers import torque_lookup as lookup
from rps_core.schedulers import torque_polling as polling
from rps_core.schedulers.torque import rps_job_name as rps_job_name
from rps_core.schedulers.torque_choices import rps_partitions as rps_partitions
from rps_core.schedulers.torque_directives import fixed_options, job_name, plain, walltime
from rps_core.schedulers.torque_steps import rps_end_step as rps_end_step
from rps_core.schedulers.torque_steps import rps_held_job as rps_held_job
from rps_core.schedulers.torque_steps import rps_start_step as rps_start_step

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_NO_HISTORY = 36  # the site keeps none (15140, modulo 256)
_ENDED = 35  # it is in the history
_ENDING = 168  # its output is being copied

_HINTS = {
    1: "The batch script or an option cannot be read.",
    2: "One of the options is not known to this qsub: look at `rps start --dry-run`.",
    38: "You have as many jobs in this queue as you may. End one, or take another queue (-p).",
    159: "You may not use this queue: take another with -p.",
    166: "One of the values cannot be read: look at `rps start --dry-run`.",
    170: "`qstat -q` lists the queues; choose one with -p.",
    173: "This queue takes no jobs now: choose another with -p.",
    187: "This PBS does not know a resource that was asked for: look at `rps start --dry-run`.",
    188: "Ask for less time (-t), fewer cores or GPUs, or take another queue (-p).",
}


def directives(spec: SessionSpec) -> Iterator[str]:
    """The options of qsub for a session; see `torque_directives`.

    A reservation is a queue of its own here. There is no quality of service, and a feature is a
    resource with a value (`cpu_type=rome`).

    Raises:
        UsageError: what PBS does not have, or no directive can hold.
    """
    wanted = spec.allocation
    if wanted.qos is not None:
        raise UsageError(
            "PBS has no quality of service", "Leave --qos out; a queue (-p) may stand for it."
        )
    if wanted.reservation is not None and wanted.partition is not None:
        raise UsageError(
            "In PBS a reservation is a queue: there cannot be a queue beside it",
            "Leave out one of --reservation and -p.",
        )
    queue = wanted.partition if wanted.reservation is None else wanted.reservation
    yield f"-N {job_name(spec.name)}"
    yield f"-l select={_select(spec)}"
    yield f"-l walltime={walltime(spec)}"
    if queue is not None:
        yield f"-q {plain('queue', queue)}"
    if wanted.account is not None:
        yield f"-A {plain('account', wanted.account)}"
    yield from fixed_options(spec.session_dir)
    yield from wanted.directives


def _select(spec: SessionSpec) -> str:
    wanted = spec.allocation
    parts = [str(wanted.nodes), f"ncpus={wanted.tasks * (wanted.cpus or 1)}"]
    if wanted.memory_mb:
        parts.append(f"mem={wanted.memory_mb}mb")
    if wanted.gpus:
        parts.append(f"ngpus={wanted.gpus}")
    if wanted.constraint is not None:
        for feature in wanted.constraint.split(":"):
            name, equals, value = feature.partition("=")
            if not equals:
                raise UsageError(
                    f"{feature!r} is no feature that PBS can ask for",
                    "Give a resource and its value: --constraint cpu_type=rome",
                )
            parts.append(f"{plain('resource', name)}={plain('feature', value)}")
    return ":".join(parts)


@hookimpl(trylast=True)
def rps_scheduler_config() -> Traversable:
    """Beside this module."""
    return Path(__file__).with_name("pbs.yaml")


@hookimpl(trylast=True)
def rps_render_batch(spec: SessionSpec) -> str:
    """The template with `#PBS` lines."""
    lines = [f"#PBS {directive}" for directive in directives(spec)]
    return render(spec.template, lines, spec.session_dir)


@hookimpl(trylast=True)
def rps_submit(spec: SessionSpec, script: Path, shell: Shell) -> str:
    """Submit; what did not answer is looked up by the job's name."""
    return torque.submit(spec, script, shell, _find, _HINTS)


def _find(name: str, shell: Shell) -> list[str] | None:
    for options in (("-x",), ()):  # with the history, as far as there is one
        try:
            done = shell(
                "qselect", *options, "-u", login_name(), "-N", name, timeout=lookup.TIMEOUT
            )
        except SchedulerError:
            return None
        if done.code == 0:
            return [line.strip() for line in done.stdout.split("\n") if answers.is_id(line.strip())]
    return None


@hookimpl(trylast=True)
def rps_find_jobs(submissions: Sequence[Submission], shell: Shell) -> Mapping[str, str]:
    """By the jobs' names, ended ones too where PBS keeps a history."""
    return lookup.find_jobs(submissions, shell, _find)


@hookimpl(trylast=True)
def rps_tagged_jobs(shell: Shell) -> Sequence[str]:
    """By the jobs' names."""
    return lookup.tagged_jobs(shell)


@hookimpl(trylast=True)
def rps_poll(jobs: Sequence[Job], shell: Shell) -> Mapping[str, JobStatus]:
    """One `qstat` for all, by their ids, ended ones included; a second one where PBS keeps no history."""
    return polling.statuses(_poll(jobs, shell, polling.forgotten))


@hookimpl(trylast=True)
def rps_poll_everybody(job_ids: Sequence[str], shell: Shell) -> Mapping[str, Sighting]:
    """The same: an id may be anybody's, and is asked for as Torque's."""
    return _poll(polling.strangers(job_ids), shell, polling.forgotten_of_anybody, answers.number)


def _poll(
    jobs: Sequence[Job], shell: Shell, judge: polling.Judge, spelt: Callable[[str], str] = str
) -> dict[str, Sighting]:
    asked = [job for job in jobs if answers.is_id(job.id)]
    if not asked:
        return polling.not_ids(jobs)
    ids = list(dict.fromkeys(spelt(job.id) for job in asked))
    done = shell("qstat", "-xf", *ids, timeout=lookup.TIMEOUT)
    if done.code == _NO_HISTORY:
        done = shell("qstat", "-f", *ids, timeout=lookup.TIMEOUT)
    found = answers.text_jobs(done.stdout)
    denied = answers.denied(done.stderr)
    return {**polling.not_ids(jobs), **polling.sort_out(asked, found, denied, done, shell, judge)}


@hookimpl(trylast=True)
def rps_testimony(job: Job, shell: Shell) -> Sequence[Evidence]:
    """As Torque's, from PBS's own `qstat` and `tracejob`."""
    return torque.rps_testimony(job, shell)


@hookimpl(trylast=True)
def rps_questions() -> Sequence[Question]:
    """As Torque's."""
    return torque.questions()


@hookimpl(trylast=True)
def rps_cancel(job: Job, shell: Shell) -> bool:
    """qdel. A running job takes its time to end: it is told, and killed seconds later."""
    if not answers.is_id(job.id):
        raise SchedulerError(f"{job.id!r} is no id of a job of this scheduler")
    done = shell("qdel", job.id, timeout=lookup.TIMEOUT)
    if done.code == 0:
        return True
    if done.code in (_ENDED, _ENDING, 153):
        return False
    told = answers.complaint(done.stdout, done.stderr)
    raise SchedulerError(
        f"qdel did not end the job: {told or 'it does not say why'} (exit {done.code})",
        transient=done.code in polling.AWAY,
    )
