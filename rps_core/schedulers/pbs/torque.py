"""Torque, with Moab or Maui and Gold if a site has them; also Slurm's wrappers.

Debian's slurm-wlm-torque and similar packages have a `qsub`, `qstat` and `qdel` that call Slurm's commands.
They print no XML, pass qsub's arguments unquoted to a shell, and have neither exit statuses nor server names.
rps recognizes them by the ids that their qsub prints, numbers without a server's name, and uses
`qstat -f -1`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.plugin import (
    Cause,
    Evidence,
    Finished,
    HealthCheck,
    Job,
    JobOrigin,
    JobStatus,
    JobTraits,
    ObservedJob,
    SchedulerError,
    SessionSpec,
    Shell,
    Submission,
    Submitted,
    Unknown,
    complains,
    hookimpl,
    login_name,
    quoted,
    render,
)
from rps_core.schedulers.pbs import answers, lookup, polling, refusals
from rps_core.schedulers.pbs.choices import rps_allocations as rps_allocations
from rps_core.schedulers.pbs.choices import rps_partitions as rps_partitions
from rps_core.schedulers.pbs.directives import (
    directives,
    fixed_options,
    job_name,
    write_job_shell,
)
from rps_core.schedulers.pbs.gold import default_account
from rps_core.schedulers.pbs.identity import status_if_own
from rps_core.schedulers.pbs.presence import rps_cluster_hosts as rps_cluster_hosts
from rps_core.schedulers.pbs.presence import rps_cluster_identity as rps_cluster_identity
from rps_core.schedulers.pbs.presence import rps_cluster_name as rps_cluster_name
from rps_core.schedulers.pbs.presence import rps_scheduler_presence as rps_scheduler_presence
from rps_core.schedulers.pbs.steps import job_origin
from rps_core.schedulers.pbs.steps import rps_current_job as rps_current_job
from rps_core.schedulers.pbs.steps import rps_end_step as rps_end_step
from rps_core.schedulers.pbs.steps import rps_start_step as rps_start_step
from rps_core.schedulers.pbs.traits import TORQUE_KILL_DELAY, job_traits
from rps_core.schedulers.pbs.traits import rps_command_variables as rps_command_variables
from rps_core.schedulers.pbs.traits import rps_log_causes as rps_log_causes

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

RPS_INTERFACE = (1, 0)

# The attributes of `qstat -f` that `rps why` shows.
_DETAILS = (
    "job_state", "Exit_status", "exit_status", "comment", "Hold_Types", "depend", "queue", "Account_Name",
    "exec_host", "Resource_List.walltime", "Resource_List.mem", "resources_used.walltime",
    "resources_used.mem", "resources_used.vmem",
)  # fmt: skip
_TRACED_DAYS = 3


@hookimpl(trylast=True)
def rps_scheduler_config() -> Traversable:
    """Return the settings beside this module."""
    return Path(__file__).with_name("torque.yaml")


@hookimpl(trylast=True)
def rps_job_traits() -> JobTraits:
    """Return the traits of Torque's jobs."""
    return job_traits(TORQUE_KILL_DELAY)


@hookimpl(trylast=True)
def rps_job_origin(environment: Mapping[str, str]) -> JobOrigin | None:
    """Return where a job was submitted; None: the environment is that of PBS's job."""
    return None if "PBS_O_SYSTEM" in environment else job_origin(environment)


@hookimpl(trylast=True)
def rps_default_allocation(shell: Shell) -> str | None:
    """Return the account that Gold gives, if there is one."""
    return default_account(login_name(), shell)


@hookimpl(trylast=True)
def rps_render_batch(spec: SessionSpec) -> str:
    """Return the template with `#PBS` lines."""
    lines = [f"#PBS {directive}" for directive in directives(spec)]
    return render(spec.template, lines, spec.session_dir)


@hookimpl(trylast=True)
def rps_submit(spec: SessionSpec, script: Path, shell: Shell) -> Submitted:
    """Run qsub; without an answer, look the job up by its name."""
    return submit(spec, script, shell, lookup.find, refusals.TORQUE)


def submit(
    spec: SessionSpec,
    script: Path,
    shell: Shell,
    find: lookup.Find,
    hints: Mapping[int, str],
) -> Submitted:
    """Run qsub, for Torque and PBS; return the job's id, and what qsub printed beside it.

    Args:
        find: looks for the jobs of a name.
        hints: what the user can do, by qsub's exit code.
    """
    # These options are in the script, too. Slurm's wrapper sets -o itself, which overrides #PBS, and sbatch
    # does not know `#PBS -r`. The name on the command line overrides a directive of the user: rps finds the
    # job by it.
    options = [word for option in fixed_options(spec.session_dir) for word in option.split(" ", 1)]
    name = job_name(spec.name)
    write_job_shell(spec.session_dir)
    try:
        done = shell("qsub", "-N", name, *options, str(script), timeout=lookup.CHANGE_TIMEOUT)
    except SchedulerError as error:
        if not error.transient:
            raise
        return _found_again(name, find(name, shell), error)
    ids = answers.submitted_ids(done.stdout)
    printed = refusals.words(done)
    said = tuple(line for line in printed if line.strip() not in ids)
    if done.code == 0:
        if len(ids) == 1:
            return Submitted(job_id=ids[0], words=said)
        what = "more than one number" if ids else "no job id"
        unclear = SchedulerError(
            f"qsub printed {what}:{quoted(printed or ['no output'])}", transient=True
        )
        return _found_again(name, find(name, shell), unclear, said)
    refusal = refusals.refusal(done, hints)
    if ids:  # a site's wrapper failed after qsub had submitted the job
        found = find(name, shell)
        if found != []:
            return _found_again(name, found, refusal, said)
    raise refusal


def _found_again(
    name: str, found: list[str] | None, error: SchedulerError, words: Sequence[str] = ()
) -> Submitted:
    """Return the job that was found by its name, with the `words` of its submission."""
    if found:
        return Submitted(job_id=found[0], words=words)
    outcome = "There is no such job" if found is not None else "Its job could not be looked up"
    raise SchedulerError(
        f"{error.message}\n{outcome}",
        f"If a job {name} appears later (`qselect -N {name}`), end it with qdel.",
        transient=True,
        cause=Cause.SCHEDULER_AWAY,
    )


@hookimpl(trylast=True)
def rps_find_jobs(submissions: Sequence[Submission], shell: Shell) -> Mapping[str, str]:
    """Look for the jobs' names."""
    return lookup.find_jobs(submissions, shell, lookup.find)


@hookimpl(trylast=True)
def rps_list_jobs(shell: Shell) -> Sequence[str]:
    """Look for jobs with a name of rps."""
    return lookup.list_jobs(shell)


@hookimpl(trylast=True)
def rps_poll(jobs: Sequence[Job], shell: Shell) -> Mapping[str, JobStatus]:
    """Run one `qstat` for all ids.

    Without ids it lists the jobs of all users, thousands on a large cluster, and `-u` prints no XML. The
    server also reports each requested id that it does not know, which is better evidence than its absence
    from a list.
    """
    return polling.poll(jobs, shell, _ask)


@hookimpl(trylast=True)
def rps_poll_all_users(job_ids: Sequence[str], shell: Shell) -> Mapping[str, ObservedJob]:
    """Run one `qstat` for ids of any user, without the servers' names.

    An id is a user's text, and qstat would connect to the server that it names, with this account's
    credentials. An id of another server than the default stays Unknown.
    """
    return polling.poll_all_users(job_ids, shell, _question_for(job_ids))


@hookimpl(trylast=True)
def rps_job_name(session: str) -> str:
    """Return the name that `rps_submit` gives the session's job."""
    return job_name(session)


def _ask(ids: Sequence[str], shell: Shell) -> polling.Answer:
    return _question_for(ids)(ids, shell)


def _question_for(ids: Sequence[str]) -> polling.Ask:
    """Choose the command by the form of the ids.

    Torque's have its server's name, those of Slurm's wrappers are numbers alone.
    """
    return _ask_for_xml if any("." in job_id for job_id in ids) else _ask_for_text


def _ask_for_xml(ids: Sequence[str], shell: Shell) -> polling.Answer:
    done = shell("qstat", "-x", *ids, timeout=lookup.TIMEOUT)
    if done.code == 2 and re.search("unknown option|invalid option", done.stderr, re.IGNORECASE):
        return _ask_for_text(ids, shell)
    shown, denied = answers.xml_jobs(done.stdout), answers.denied(done.stderr)
    return polling.Answer(shown, denied, done, foreign=_foreign(done))


def _foreign(done: Finished) -> list[str]:
    """Return the ids of jobs that the server did not show because they are another user's.

    It shows those to operators alone, unless `query_other_jobs` is set. The owner may ask from any host
    (svr_authorize_jobreq, src/server/svr_chk_owner.c of 6.1.3). PBS refuses the owner as well, from hosts
    that it does not trust.
    """
    return re.findall(r"^qstat: Unauthorized Request +(\S+)$", done.stderr, re.MULTILINE)


def _ask_for_text(ids: Sequence[str], shell: Shell) -> polling.Answer:
    done = shell("qstat", "-f", "-1", *ids, timeout=lookup.TIMEOUT)
    shown = answers.text_jobs(done.stdout)
    denied = answers.denied(done.stderr)
    if (done.code == 153 or shown) and not complains(done):
        # Slurm's wrapper reads the list of all jobs, and reports no id that is not in it.
        denied = [job_id for job_id in ids if not answers.matching(job_id, shown)]
    return polling.Answer(shown, denied, done, foreign=_foreign(done))


@hookimpl(trylast=True)
def rps_job_details(job: Job, shell: Shell) -> Sequence[Evidence]:
    """Return what `qstat -f` and `tracejob` show.

    The server remembers a job for some time after its end. `tracejob` reads the logs on its host, so it has
    an answer on the server's host, or if the logs are on a shared disk.
    """
    if not answers.is_id(job.id):
        return []
    done = shell("qstat", "-f", "-1", job.id, timeout=lookup.TIMEOUT)
    return details(job, done, shell)


def details(job: Job, done: Finished, shell: Shell) -> list[Evidence]:
    """Return what an answer of `qstat -f` and the server's logs show of a job.

    Of another job with its id only that it is another one.
    """
    found = next(iter(answers.matching(job.id, answers.text_jobs(done.stdout))), None)
    status = None if found is None else status_if_own(job, found)
    if isinstance(status, Unknown) and status.cause == "id-reused":
        return [Evidence(source="qstat", line=status.reason)]
    return [*_shown(job, found, done), *_traced(job, shell)]


def _shown(job: Job, found: answers.Attributes | None, done: Finished) -> Iterator[Evidence]:
    if found is not None:
        listed = " ".join(
            f"{n}={found[n]}" for n in _DETAILS if found.get(n) not in (None, "", "n")
        )
        yield Evidence(source="qstat", line=f"{job.id} {listed}")
    elif complains(done) and not answers.denied(done.stderr):
        yield Evidence(source="qstat", line=answers.complaint("", done.stderr))


def _traced(job: Job, shell: Shell) -> list[Evidence]:
    """Return the lines of `tracejob`; none where it is not installed."""
    try:
        done = shell("tracejob", "-q", "-n", str(_TRACED_DAYS), job.id, timeout=lookup.TIMEOUT)
    except SchedulerError:  # most login nodes do not have it
        return []
    return [Evidence(source="tracejob", line=line) for line in answers.traced(done.stdout)]


@hookimpl(trylast=True)
def rps_health_checks() -> Sequence[HealthCheck]:
    """Return checks of qstat and qselect: qsub and qdel use the same server.

    Slurm's wrappers have no qselect.
    """
    user = login_name()
    return [
        HealthCheck(argv=("qstat", "-u", user)),
        HealthCheck(
            argv=("qselect", "-u", user),
            needed=False,
            without="Without it, rps reads the list of all jobs, which can be slow (Slurm has no qselect).",
        ),
    ]


@hookimpl(trylast=True)
def rps_cancel(job: Job, shell: Shell) -> bool:
    """Run qdel, after qstat showed that the id is this job's. False: it has ended, or is ending."""
    if not answers.is_id(job.id):
        raise SchedulerError(f"{job.id!r} is not a job id of this scheduler")
    if polling.has_ended(job, shell, _ask):
        return False
    done = shell("qdel", job.id, timeout=lookup.CHANGE_TIMEOUT)
    if done.code == 0:
        return True
    message = refusals.words(done)
    if done.code == 153 or (done.code == 170 and re.search("COMPLETE|EXITING", done.stderr)):
        return False
    if done.code == 1 and not message and polling.has_ended(job, shell, _ask):
        return False  # Slurm's wrapper prints no message
    hint = "You may have to end it again later." if done.code == 224 else ""
    raise SchedulerError(
        f"qdel did not end the job (exit {done.code}):{quoted(message or ['no message'])}",
        hint,
        transient=done.code in refusals.AWAY or done.code == 224,
    )
