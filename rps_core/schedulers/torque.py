"""Torque, with Moab or Maui and Gold where a site has them; also Slurm's wrappers of that name.

Debian's slurm-wlm-torque and its like bring a `qsub`, `qstat` and `qdel` that drive Slurm. They have no
XML, put the arguments of qsub into a shell command unquoted, know no exit status and no server names.
They are recognised by their first answer (`qstat -x`: "Unknown option"), and read by `qstat -f -1`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

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
    hookimpl,
    login_name,
    render,
)
from rps_core.schedulers import torque_answers as answers
from rps_core.schedulers import torque_lookup as lookup
from rps_core.schedulers import torque_polling as polling
from rps_core.schedulers.torque_choices import rps_allocations as rps_allocations
from rps_core.schedulers.torque_choices import rps_partitions as rps_partitions
from rps_core.schedulers.torque_directives import directives, fixed_options, job_name
from rps_core.schedulers.torque_gold import default_account
from rps_core.schedulers.torque_steps import rps_end_step as rps_end_step
from rps_core.schedulers.torque_steps import rps_held_job as rps_held_job
from rps_core.schedulers.torque_steps import rps_start_step as rps_start_step

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_WITHOUT_XML: WeakSet[Shell] = WeakSet()  # found out once for each run of rps

_HINTS = {
    1: "The batch script or an option cannot be read; root may not submit.",
    2: "One of the options is not known to this qsub: look at `rps start --dry-run`.",
    159: "You may not use this queue: take another with -p.",
    168: "One of the values cannot be read: look at `rps start --dry-run`.",
    172: "`qstat -q` lists the queues; choose one with -p.",
    175: "This queue takes no jobs now: choose another with -p.",
    189: "This Torque does not know a resource that was asked for: look at `rps start --dry-run`.",
    190: "Ask for less time (-t), fewer cores or GPUs, or take another queue (-p).",
    214: "The server is shutting down. Try again later.",
    228: "You have as many jobs in this queue as you may. End one, or take another queue (-p).",
}
# The words for refusals (`rps_core.causes.OVER`), Torque's and PBS's, by exit code.
_CAUSES = {
    **dict.fromkeys((159, 170, 172, 173, 175), "no-partition"),
    **dict.fromkeys((188, 190), "too-much"),
    **dict.fromkeys((38, 228), "queue-limit"),
    **dict.fromkeys(polling.AWAY, "scheduler-away"),
}
# What tells something of a job, of all that `qstat -f` has.
_TELLING = (
    "job_state", "Exit_status", "exit_status", "comment", "Hold_Types", "depend", "queue", "Account_Name",
    "exec_host", "Resource_List.walltime", "Resource_List.mem", "resources_used.walltime",
    "resources_used.mem", "resources_used.vmem",
)  # fmt: skip
_TRACED_DAYS = 3


@hookimpl(trylast=True)
def rps_scheduler_config() -> Traversable:
    """Beside this module."""
    return Path(__file__).with_name("torque.yaml")


@hookimpl(trylast=True)
def rps_default_allocation(shell: Shell) -> str | None:
    """From Gold, where there is one."""
    return default_account(login_name(), shell)


@hookimpl(trylast=True)
def rps_render_batch(spec: SessionSpec) -> str:
    """The template with `#PBS` lines."""
    lines = [f"#PBS {directive}" for directive in directives(spec)]
    return render(spec.template, lines, spec.session_dir)


@hookimpl(trylast=True)
def rps_submit(spec: SessionSpec, script: Path, shell: Shell) -> str:
    """Submit; what did not answer is looked up by the job's name."""
    return submit(spec, script, shell, lookup.find, _HINTS)


def submit(
    spec: SessionSpec,
    script: Path,
    shell: Shell,
    find: lookup.Find,
    hints: Mapping[int, str],
) -> str:
    """qsub, for Torque and PBS. `find` looks for jobs of a name, `hints` is by exit code."""
    # On the command line again: Slurm's wrapper has an -o of its own, which counts more than #PBS,
    # and what it gives to sbatch does not know `#PBS -r`. And the name, by which the job is known, whatever
    # the user's own directives call it.
    options = [word for option in fixed_options(spec.session_dir) for word in option.split(" ", 1)]
    name = job_name(spec.name)
    try:
        done = shell("qsub", "-N", name, *options, str(script), timeout=lookup.TIMEOUT)
    except SchedulerError as error:
        if not error.transient:
            raise
        return _found_again(name, find(name, shell), error)
    job_id = answers.id_in(done.stdout) if done.code == 0 else None
    if job_id is not None:
        return job_id
    if done.code == 0:
        unclear = SchedulerError("qsub printed no id of a job", transient=True)
        return _found_again(name, find(name, shell), unclear)
    told = answers.complaint(done.stdout, done.stderr)
    account = "no-account" if "invalid account" in told.lower() else "refused"
    raise SchedulerError(
        f"qsub refused the job: {told} (exit {done.code})",
        hints.get(done.code, "") if done.stderr else "",
        transient=done.code in polling.AWAY,
        cause=_CAUSES.get(done.code, account),
    )


def _found_again(name: str, found: list[str] | None, error: SchedulerError) -> str:
    if found:
        return found[0]
    told = "and there is no such job" if found is not None else "and its job could not be looked up"
    raise SchedulerError(
        f"{error.message}, {told}",
        f"If a job {name} appears later (`qselect -N {name}`), end it with qdel.",
        transient=True,
        cause="scheduler-away",
    )


@hookimpl(trylast=True)
def rps_find_jobs(submissions: Sequence[Submission], shell: Shell) -> Mapping[str, str]:
    """By the jobs' names, which are made of the sessions'."""
    return lookup.find_jobs(submissions, shell, lookup.find)


@hookimpl(trylast=True)
def rps_tagged_jobs(shell: Shell) -> Sequence[str]:
    """By the jobs' names."""
    return lookup.tagged_jobs(shell)


@hookimpl(trylast=True)
def rps_poll(jobs: Sequence[Job], shell: Shell) -> Mapping[str, JobStatus]:
    """One `qstat` for all, by their ids.

    By ids, because without it shows the jobs of everybody, thousands on a large cluster; and `-u` has
    no XML. And because an id that is asked for is denied by name when it is not known, which is more
    than its absence from a list.
    """
    return polling.statuses(_poll(jobs, shell, polling.forgotten))


@hookimpl(trylast=True)
def rps_poll_everybody(job_ids: Sequence[str], shell: Shell) -> Mapping[str, Sighting]:
    """The same, without the servers' names: an id may be anybody's word, and qstat would go to whatever
    host it names, as whoever runs this. One of another server than ours stays unknown.
    """
    return _poll(polling.strangers(job_ids), shell, polling.forgotten_of_anybody, answers.number)


@hookimpl(trylast=True)
def rps_job_name(session: str) -> str:
    """A digest of the session's name."""
    return job_name(session)


def _poll(
    jobs: Sequence[Job], shell: Shell, judge: polling.Judge, spelt: Callable[[str], str] = str
) -> dict[str, Sighting]:
    asked = [job for job in jobs if answers.is_id(job.id)]
    if not asked:
        return polling.not_ids(jobs)
    ids = list(dict.fromkeys(spelt(job.id) for job in asked))
    if shell not in _WITHOUT_XML:
        done = shell("qstat", "-x", *ids, timeout=lookup.TIMEOUT)
        if done.code != 2 or not re.search("unknown option|invalid option", done.stderr, re.I):
            denied = answers.denied(done.stderr)
            found = polling.sort_out(
                asked, answers.xml_jobs(done.stdout), denied, done, shell, judge
            )
            return {**polling.not_ids(jobs), **found}
        _WITHOUT_XML.add(shell)
    done = shell("qstat", "-f", "-1", *ids, timeout=lookup.TIMEOUT)
    shown = answers.text_jobs(done.stdout)
    denied = answers.denied(done.stderr)
    if (done.code == 153 or shown) and not done.stderr.strip():
        # Slurm's reads the list of all jobs, and names nobody that is not in it.
        denied = [job_id for job_id in ids if not answers.matching(job_id, shown)]
    return {**polling.not_ids(jobs), **polling.sort_out(asked, shown, denied, done, shell, judge)}


@hookimpl(trylast=True)
def rps_testimony(job: Job, shell: Shell) -> Sequence[Evidence]:
    """`qstat -f`, as long as the server remembers the job; and `tracejob`, which reads the logs of the host
    it runs on and is therefore of use where the server is, or keeps them on a shared disk.
    """
    if not answers.is_id(job.id):
        return []
    return [*_shown(job, shell), *_traced(job, shell)]


def _shown(job: Job, shell: Shell) -> Iterator[Evidence]:
    done = shell("qstat", "-f", "-1", job.id, timeout=lookup.TIMEOUT)
    found = next(iter(answers.matching(job.id, answers.text_jobs(done.stdout))), None)
    if found is not None:
        told = " ".join(f"{n}={found[n]}" for n in _TELLING if found.get(n) not in (None, "", "n"))
        yield Evidence(source="qstat", line=f"{job.id} {told}")
    elif done.stderr.strip() and not answers.denied(done.stderr):
        yield Evidence(source="qstat", line=answers.complaint("", done.stderr))


def _traced(job: Job, shell: Shell) -> list[Evidence]:
    try:
        done = shell("tracejob", "-q", "-n", str(_TRACED_DAYS), job.id, timeout=lookup.TIMEOUT)
    except SchedulerError:  # it is not there, on most login nodes
        return []
    return [Evidence(source="tracejob", line=line) for line in answers.traced(done.stdout)]


@hookimpl(trylast=True)
def rps_questions() -> Sequence[Question]:
    """qstat answers for qsub and qdel too: one server is behind all."""
    return questions()


def questions() -> list[Question]:
    """For Torque and PBS. Slurm's wrappers have no qselect."""
    user = login_name()
    return [
        Question(argv=("qstat", "-u", user)),
        Question(
            argv=("qselect", "-u", user),
            needed=False,
            without="Without it rps reads the list of all jobs, which can be slow (Slurm has none).",
        ),
    ]


@hookimpl(trylast=True)
def rps_cancel(job: Job, shell: Shell) -> bool:
    """qdel. What is over or just ending is none of its business any more: False."""
    if not answers.is_id(job.id):
        raise SchedulerError(f"{job.id!r} is no id of a job of this scheduler")
    done = shell("qdel", job.id, timeout=lookup.TIMEOUT)
    if done.code == 0:
        return True
    told = answers.complaint(done.stdout, done.stderr)
    if done.code == 153 or (done.code == 170 and re.search("COMPLETE|EXITING", done.stderr)):
        return False
    if done.code == 1 and not told and _slurm_has_ended(job, shell):
        return False
    hint = "You may have to end it again later." if done.code == 224 else ""
    raise SchedulerError(
        f"qdel did not end the job: {told or 'it does not say why'} (exit {done.code})",
        hint,
        transient=done.code in polling.AWAY or done.code == 224,
    )


def _slurm_has_ended(job: Job, shell: Shell) -> bool:
    """Slurm's wrapper fails without a word on jobs that are over and on those that never were."""
    done = shell("qstat", "-f", "-1", job.id, timeout=lookup.TIMEOUT)
    found = next(iter(answers.matching(job.id, answers.text_jobs(done.stdout))), None)
    if found is None:
        return done.code == 153 and not done.stderr.strip()
    return found.get("job_state") in ("C", "U")
