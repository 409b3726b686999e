"""The hooks of rps: what a site and a scheduler can implement.

A plugin is a module that is registered as an entry point in the group `rps`; a scheduler's entry point is
named `scheduler.<name>`. It implements the hooks that it needs. An implementation takes only the arguments
that it uses, by these names.

After detection only the detected site and its scheduler are asked. The site is asked first, so it can
override one step and inherit the others. `None` means that the next plugin is asked; any other answer, an
empty one too, counts. Every answer is checked against its declared type. docs/plugins.md describes what a
failure of a hook costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pluggy import HookimplMarker, HookspecMarker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from rps_core.jobs import Evidence, Job, JobStatus, ObservedJob, Submission
    from rps_core.models import (
        Claim,
        Cluster,
        Host,
        JobId,
        JobOrigin,
        JobRequest,
        Presence,
        RequestChange,
        Script,
        SessionSpec,
        Submitted,
        Word,
    )
    from rps_core.state.record import SessionRecord
    from rps_core.system.shell import Shell
    from rps_core.traits import CommandVariables, HealthCheck, JobTraits, LogCause

hookspec = HookspecMarker("rps")
hookimpl = HookimplMarker("rps")

# The version of this interface, major and minor. The minor number is raised with each addition that a plugin
# can use (a hook, an argument, a field with a default, a name in `rps_core.plugin`), the major number with
# each change that can break a plugin.
INTERFACE = (1, 0)


@hookspec
def rps_detect_cluster(
    host: Host, shell: Shell, schedulers: Mapping[str, Presence]
) -> Claim | None:
    """Claim this host, or return None.

    Every site is asked at each `rps start`; two claims are an error that names both clusters. Match the host
    name in full, not by a prefix. Where it leaves the cluster open, make the claim depend on the name that
    the scheduler gives its cluster (`Claim.cluster_name`), and run no command otherwise.

    Args:
        host: the host's names, and in `host.commands` the programs on the PATH.
        schedulers: the answers to `rps_scheduler_presence` by the scheduler's name. Only an implementation
            marked `trylast` gets them, which is asked if no other site claims the host; for the others it is
            empty.
    """


@hookspec
def rps_scheduler_presence(
    host: Host, environment: Mapping[str, str], shell: Shell
) -> Presence | None:
    """Return whether this scheduler answers on this host.

    Every scheduler is asked if no site claims the host and no answer is cached. Run one quick command that
    the scheduler itself has to answer: all plugins together have 10 s. A program that fails, hangs, prints
    only errors or something else is no answer. Programs without a configuration are no sign of a cluster.

    Args:
        host: `host.commands` has the programs on the PATH.
        environment: the variables. The answer is cached for as long as the variables and programs that were
            looked up do not change.

    Returns:
        None: the scheduler's programs are not on the PATH, and no configuration of it names another host.
    """


@hookspec
def rps_cluster_name(cluster: Cluster, shell: Shell) -> Word | None:
    """Return the name that the scheduler gives its cluster.

    It is Slurm's ClusterName, for example. A claim can depend on it (`Claim.cluster_name`).

    Returns:
        None: the cluster has no name, or the scheduler does not answer within a few seconds.
    """


@hookspec(firstresult=True)
def rps_cluster_identity(cluster: Cluster, shell: Shell) -> Word | None:
    """Return what sets this cluster apart from any other, in the scheduler's own words.

    It is Slurm's ClusterName and controller, for example, or the server of Torque. It is kept with each
    session: a session with another identity is of another cluster, also if rps has the same name for both,
    and none of its jobs is polled or cancelled here.

    A start asks for it if the last answer on this host is an hour old. Before a job is taken as ended or is
    cancelled, it is asked for in any case; a job that the scheduler shows as the session's needs no such
    answer.

    Returns:
        None: the scheduler has no such name. Of sessions with an identity, nothing is then concluded or
        cancelled.

    Raises:
        SchedulerError: it does not answer within a few seconds; the message is what its command prints, and
            is the reason why a session's state is unknown.
    """


@hookspec(firstresult=True)
def rps_cluster_hosts(cluster: Cluster, shell: Shell) -> Sequence[Word] | None:
    """Return names or addresses of the cluster's hosts: some compute nodes, then the scheduler's controllers.

    A personal service (docs/anywhere.md) listens on the login node's address by which these hosts reach it.
    They are asked for when such a service has to be started.

    Returns:
        None or empty: they are not known.

    Raises:
        SchedulerError: the scheduler does not answer.
    """


@hookspec
def rps_clusters(schedulers: Sequence[str]) -> Sequence[Cluster]:
    """Return the clusters that this site serves, on any host.

    `--cluster NAME` selects one.

    Args:
        schedulers: the names of the installed schedulers.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def rps_site_config(cluster: Cluster) -> Traversable | None:
    """Return the site's layer of the configuration: a YAML file.

    Usually `Path(__file__).with_name("site.yaml")`. It overrides the scheduler's layer.
    """


@hookspec(firstresult=True)
def rps_scheduler_config(cluster: Cluster) -> Traversable | None:
    """Return the scheduler's layer of the configuration: a YAML file.

    It overrides rps's defaults.
    """


@hookspec(firstresult=True)
def rps_command_variables(cluster: Cluster) -> CommandVariables | None:
    """Return how the scheduler's commands depend on environment variables.

    The commands run without some variables, and others are set for them. The answer is constant.
    """


@hookspec(firstresult=True)
def rps_job_traits(cluster: Cluster) -> JobTraits | None:
    """Return the properties of this scheduler's jobs. Required.

    They are the batch scripts, the variable that holds the job's id, and the command that prints the time
    left. The answer is constant: it is asked for at each start, runs nothing and reads no file. The agent
    gets its part in the session's `launch.json`.
    """


@hookspec
def rps_log_causes(cluster: Cluster) -> Sequence[LogCause] | None:
    """Return the messages in a job's log that show why the scheduler ended the job.

    `rps why` searches the log for them. The answers of the site and the scheduler are combined, the site's
    first. Match the scheduler's prefix too (`^slurmstepd: `): a user's own output must not match.
    """


@hookspec(firstresult=True)
def rps_default_allocation(cluster: Cluster, shell: Shell) -> Word | None:
    """Return the account to charge if none is configured.

    Returns:
        None: the scheduler chooses the account.

    Raises:
        SchedulerError: the scheduler's accounting does not answer.
    """


@hookspec(firstresult=True)
def rps_partitions(cluster: Cluster, shell: Shell) -> Sequence[Word] | None:
    """Return the partitions or queues that accept the user's jobs, the default first.

    They are for completion and `rps init`.

    Returns:
        None or empty: they are not known.

    Raises:
        SchedulerError: the scheduler does not answer.
    """


@hookspec(firstresult=True)
def rps_allocations(cluster: Cluster, shell: Shell) -> Sequence[Word] | None:
    """Return the accounts that the user may charge, as `rps_partitions` does.

    Raises:
        SchedulerError: the scheduler does not answer.
    """


@hookspec
def rps_check_request(cluster: Cluster, request: JobRequest, shell: Shell) -> RequestChange | None:
    """Change or refuse a request for a job by the site's policy.

    It is asked at each `rps start` after the limits of the configuration were checked, also for `--dry-run`,
    and by `rps config --origins`; not for `--here`, which requests no job. The site is asked first, and the
    scheduler gets the request as the site changed it. The user sees every change with its reason. The record
    for `rps again` keeps the request before the change.

    Returns:
        None: the request stays as it is.

    Raises:
        RequestRefusedError: the site does not accept the request. Message and hint reach the user in full,
            with exit code 11.
    """


@hookspec(firstresult=True)
def rps_render_batch(cluster: Cluster, spec: SessionSpec) -> Script | None:
    """Return the batch script: the template with the scheduler's directives. Required.

    It reads no file but `spec.template` and runs no command: `rps start --dry-run` prints it.

    Raises:
        UsageError: a value cannot be written as a directive.
    """


@hookspec(firstresult=True)
def rps_submit(
    cluster: Cluster, spec: SessionSpec, script: Path, shell: Shell
) -> JobId | Submitted | None:
    """Submit the script and return the job's full id. Required.

    `Submitted` adds what the scheduler printed beside the id: `rps start` prints it, and the record keeps it.

    After a timeout, look the job up by `spec.tag` before submitting again. If the hook fails in another way,
    rps looks the job up with `rps_find_jobs` and cancels it.

    Args:
        script: the rendered batch script, in the session's directory.

    Raises:
        SchedulerError: the scheduler rejected the job; the message has the scheduler's own words.
            `transient=True`: the job may have been submitted.
    """


@hookspec(firstresult=True)
def rps_poll(cluster: Cluster, jobs: Sequence[Job], shell: Shell) -> Mapping[str, JobStatus] | None:
    """Return the status of each job by its id. Required.

    One call of the scheduler answers for all of them; no two have the same id.

    `Unknown` ends no session: return it, with the reason, for a job that the scheduler does not report.
    `Gone` needs evidence that the job has ended.

    A job of the id that is not the user's, or that `Job.is_shown_as` does not recognize, is another one:
    return `Job.replaced`.

    Raises:
        SchedulerError: the scheduler does not answer; every job is then `Unknown`.
    """


@hookspec(firstresult=True)
def rps_poll_all_users(
    cluster: Cluster, job_ids: Sequence[str], shell: Shell
) -> Mapping[str, ObservedJob] | None:
    """Return the status of jobs of all users by id, for `rps proxy feed`.

    The feed runs as an account that may list all jobs and read none of their files. Each answer has the job's
    name and owner, since a launcher may report the id of another user's job. An id that the scheduler has
    forgotten must not cost the others their answer. Names are free text of other users: none may be read as
    another job's record.
    """


@hookspec(firstresult=True)
def rps_job_name(cluster: Cluster, session: str) -> Word | None:
    """Return the full name of a session's job in the scheduler.

    `rps proxy feed` recognizes the job by it: two sessions have different names, and `rps_submit` lets no
    directive replace the name.

    Args:
        session: the session's name.
    """


@hookspec(firstresult=True)
def rps_job_details(cluster: Cluster, job: Job, shell: Shell) -> Sequence[Evidence] | None:
    """Return what the scheduler and its accounting report of one job, for `rps why`.

    The job may have ended. The lines show its state and limits, what it used and who ended it, each with the
    command that printed it. Leave out a command that is not installed; add a line for one that does not
    answer.
    """


@hookspec(firstresult=True)
def rps_find_jobs(
    cluster: Cluster, submissions: Sequence[Submission], shell: Shell
) -> Mapping[str, JobId] | None:
    """Return the ids of the submitted jobs by their tags.

    Ended jobs are included, as far as the scheduler knows them.

    It is asked if a launcher was killed during the submission, or `rps_submit` failed. A tag that is left out
    has no job: the session ends, if it is old enough.

    Raises:
        SchedulerError: the scheduler does not answer. The session continues.
    """


@hookspec(firstresult=True)
def rps_list_jobs(cluster: Cluster, shell: Shell) -> Sequence[JobId] | None:
    """Return the ids of the user's jobs that rps submitted and that have not ended.

    They are recognized by their tags or names. `rps doctor` looks for jobs without a session among them.

    Raises:
        SchedulerError: the scheduler does not answer.
    """


@hookspec(firstresult=True)
def rps_cancel(cluster: Cluster, job: Job, shell: Shell) -> bool | None:
    """Cancel the job with all its processes. Required.

    Another job of the same id (`rps_poll`) must not be touched: let the scheduler's command compare name and
    owner if it can, else compare them just before.

    Returns:
        True: the job was cancelled. False: it had ended before.

    Raises:
        AnotherJobError: the scheduler has another job with this id.
        SchedulerError: the job could not be cancelled. The session continues.
    """


@hookspec(firstresult=True)
def rps_health_checks(cluster: Cluster) -> Sequence[HealthCheck] | None:
    """Return the commands that show whether the scheduler answers, for `rps doctor`.

    There is one for each command that the other hooks depend on. A check passes with exit code 0 and output
    other than on stderr alone.
    """


@hookspec(firstresult=True)
def rps_current_job(cluster: Cluster, environment: Mapping[str, str]) -> JobId | None:
    """Return the id of the job that a shell with this environment is in.

    It is for `rps start --here` in a shell of salloc or `qsub -I`.

    Returns:
        None: the shell is in no job.
    """


@hookspec(firstresult=True)
def rps_job_origin(cluster: Cluster, environment: Mapping[str, str]) -> JobOrigin | None:
    """Return where the job that a shell with this environment is in was submitted.

    A compute node often has no name by which a site claims it, and no commands of the scheduler. If no site
    claims a host in a job, the sites are asked again for the host that submitted it. For a scheduler's
    plugin; `cluster` has no site yet. Run no command.

    Args:
        environment: the variables. The answer is cached for as long as those that were looked up do not
            change.

    Returns:
        None: the shell is in no job.
    """


@hookspec(firstresult=True)
def rps_start_step(
    cluster: Cluster, spec: SessionSpec, job_id: str, script: Path, shell: Shell
) -> bool | None:
    """Run the batch script inside a running job of the user, for `rps start --here`.

    It runs on the job's first node, in the background, detached from the terminal, and ends with the job. Its
    output goes to `job.log` in the session's directory.

    Returns:
        True: it was started.

    Raises:
        SchedulerError: it was not started; the message has the scheduler's own words.
    """


@hookspec(firstresult=True)
def rps_end_step(cluster: Cluster, job: Job, shell: Shell) -> bool | None:
    """End what `rps_start_step` started, and leave the job running.

    Returns:
        True: it was signalled. False: it is not there, or ends by itself because its route is closed.
    """


@hookspec
def rps_session_started(record: SessionRecord) -> None:
    """Observe that a session's job was submitted. An exception is logged."""


@hookspec
def rps_session_ended(record: SessionRecord) -> None:
    """Observe that a session was stopped or has ended. An exception is logged."""
