"""The contract between rps and its plugins: sites and schedulers.

A plugin is a module registered as an entry point in the group `rps`; a scheduler's entry point is
named `scheduler.<name>`. It implements what it has an opinion on and leaves the rest out; an
implementation takes only the arguments it uses, by these names.

After detection only the site that was detected and its scheduler are asked. The site answers first,
so it can override one step and inherit the others. `None` means "no opinion"; any other answer, an
empty one too, counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pluggy import HookspecMarker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from rps_core.models import (
        Claim,
        Cluster,
        Evidence,
        Host,
        Job,
        JobStatus,
        Question,
        SessionSpec,
        Sighting,
        Submission,
    )
    from rps_core.record import Record
    from rps_core.shell import Shell

hookspec = HookspecMarker("rps")


@hookspec
def rps_detect_cluster(host: Host, shell: Shell) -> Claim | None:
    """Claim this host, or not. Every site's plugin is asked (a scheduler's is loaded later, once a site
    names it); two claims are an error that names both.

    Match the host name in full, not by a prefix, and look at more than the name where it can lie.
    `host.commands` tells which scheduler commands are on the PATH. Run one (`scontrol show config`)
    only where the host name leaves it open: this is asked on each `rps start`. Marked `trylast`, an
    implementation is asked only where no other claims the host.
    """


@hookspec
def rps_clusters() -> Sequence[Cluster]:
    """The clusters that this plugin serves, wherever it runs: `--cluster NAME` picks among them."""
    raise NotImplementedError


@hookspec(firstresult=True)
def rps_site_config(cluster: Cluster) -> Traversable | None:
    """The site's layer of the configuration: `Path(__file__).with_name("site.yaml")`."""


@hookspec(firstresult=True)
def rps_scheduler_config(cluster: Cluster) -> Traversable | None:
    """The scheduler's layer of the configuration, below the site's."""


@hookspec(firstresult=True)
def rps_default_allocation(cluster: Cluster, shell: Shell) -> str | None:
    """The account to charge when none is configured. None: whatever the scheduler takes by itself.

    Raises:
        SchedulerError: the scheduler's accounting could not be asked.
    """


@hookspec(firstresult=True)
def rps_partitions(cluster: Cluster, shell: Shell) -> Sequence[str] | None:
    """The partitions or queues that a job may be sent to, the default one first, for completion and
    `rps init`. None or empty: nobody knows.

    Raises:
        SchedulerError: the scheduler could not be asked.
    """


@hookspec(firstresult=True)
def rps_allocations(cluster: Cluster, shell: Shell) -> Sequence[str] | None:
    """The allocations that the user may charge. As `rps_partitions`."""


@hookspec(firstresult=True)
def rps_render_batch(cluster: Cluster, spec: SessionSpec) -> str | None:
    """The batch script: the template with the scheduler's directives. Pure: no files but the template."""


@hookspec(firstresult=True)
def rps_submit(cluster: Cluster, spec: SessionSpec, script: Path, shell: Shell) -> str | None:
    """Submit the script and answer the job's id, in full. A submit that timed out is looked up by
    `spec.tag` before anything is tried again.

    Raises:
        SchedulerError: refused, with the scheduler's own words.
    """


@hookspec(firstresult=True)
def rps_poll(cluster: Cluster, jobs: Sequence[Job], shell: Shell) -> Mapping[str, JobStatus] | None:
    """The status of each job, by id, from one call of the scheduler for all of them.

    What the scheduler does not answer for is `Unknown` with the reason; `Gone` needs evidence.
    """


@hookspec(firstresult=True)
def rps_poll_everybody(
    cluster: Cluster, job_ids: Sequence[str], shell: Shell
) -> Mapping[str, Sighting] | None:
    """As `rps_poll`, of jobs of anybody, for `rps proxy feed`: by an account that may see them, and may
    read none of their files. With each its name and owner: an id is what a session's launcher says it is, and
    may be of another user's job. What the feed passes on is for the job's own session alone.

    An id that the scheduler has forgotten must not cost the others their answer. Names are free text of
    other users: none may be read as another job's record.
    """


@hookspec(firstresult=True)
def rps_job_name(cluster: Cluster, session: str) -> str | None:
    """The name that the job of this session has in the scheduler, in full: by it `rps proxy feed` knows it
    from others, so no two sessions may share one, and `rps_submit` must let nothing replace it."""


@hookspec(firstresult=True)
def rps_testimony(cluster: Cluster, job: Job, shell: Shell) -> Sequence[Evidence] | None:
    """All that the scheduler and its accounting tell of one job, living or over, for `rps why`: its state
    and limits, what it used, who ended it. A line each, with the command that it comes from.

    A command that is not there is left out; one that does not answer is a line that says so.
    """


@hookspec(firstresult=True)
def rps_find_jobs(
    cluster: Cluster, submissions: Sequence[Submission], shell: Shell
) -> Mapping[str, str] | None:
    """The ids of the jobs that came of `submissions`, by their tags, ended ones too as far as they are known.

    One that is left out has no job, on the scheduler's word: its session is called over when it is old
    enough. Asked only where a launcher was killed while it submitted.

    Raises:
        SchedulerError: the scheduler does not answer. Nothing is concluded then.
    """


@hookspec(firstresult=True)
def rps_tagged_jobs(cluster: Cluster, shell: Shell) -> Sequence[str] | None:
    """The ids of this user's jobs that rps submitted, by their tags or names, as long as they have not
    ended. `rps doctor` looks among them for jobs without a session.

    Raises:
        SchedulerError: the scheduler does not answer.
    """


@hookspec(firstresult=True)
def rps_cancel(cluster: Cluster, job: Job, shell: Shell) -> bool | None:
    """End the job with all its processes. True: it was there; False: it was already over.

    Raises:
        SchedulerError: it could not be ended.
    """


@hookspec(firstresult=True)
def rps_questions(cluster: Cluster) -> Sequence[Question] | None:
    """What `rps doctor` asks, to see whether the scheduler answers and how fast: a question for each command
    that the other hooks depend on. An answer has exit code 0, and not only words on stderr.
    """


@hookspec(firstresult=True)
def rps_held_job(cluster: Cluster, environment: Mapping[str, str]) -> str | None:
    """The id of the job that a shell with this environment is in (salloc, qsub -I), for
    `rps start --here`. None: it is in none."""


@hookspec(firstresult=True)
def rps_start_step(
    cluster: Cluster, spec: SessionSpec, job_id: str, script: Path, shell: Shell
) -> bool | None:
    """Run the batch script inside this running job of the user's, on its first node, in the background:
    apart from the terminal, and ended with the job. Its output goes to `job.log` in the session's
    directory. True: it was started.

    Raises:
        SchedulerError: it could not be, with the scheduler's own words.
    """


@hookspec(firstresult=True)
def rps_end_step(cluster: Cluster, job: Job, shell: Shell) -> bool | None:
    """End what `rps_start_step` started, and not the job. True: it was told to end; False: it is not
    there, or ends by itself now that its route is gone."""


@hookspec
def rps_session_started(record: Record) -> None:
    """Told when a session's job is submitted. An exception here is logged and harms nobody."""


@hookspec
def rps_session_ended(record: Record) -> None:
    """Told when a session was found or made to end. As above."""
