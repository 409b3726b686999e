"""The typed interface to one cluster: its site's plugin and its scheduler's."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rps_core.errors import RpsError, SchedulerError
from rps_core.hooks.registration import Registrations
from rps_core.jobs import Evidence, Job, JobStatus, ObservedJob, Submission
from rps_core.models import Cluster, JobOrigin, JobRequest, RequestChange, SessionSpec, Submitted
from rps_core.state.record import SessionRecord
from rps_core.system.shell import Finished, Shell, answered_by
from rps_core.traits import CommandVariables, HealthCheck, JobTraits, LogCause

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_SILENCE_KEPT = 5.0  # seconds; less than a round of a session that is followed


class Site:
    """The hooks of one cluster: each method calls one (see `hookspecs`)."""

    def __init__(
        self,
        cluster: Cluster,
        registered: Registrations,
        plugins: tuple[str, str],
        schedulers: tuple[str, ...],
    ) -> None:
        self.cluster = cluster
        self.schedulers = schedulers  # the names of all that are installed
        self._registered = registered
        self._plugins = plugins
        self.answered: dict[tuple[str, ...], Finished] = {}  # by detection's commands
        self._identity: str | None = None
        self._silence: SchedulerError | None = None
        self._silent_until = 0.0

    def site_config(self) -> Traversable | None:
        """Return the site's YAML file, if it has one."""
        return cast("Traversable | None", self._ask("rps_site_config"))

    def scheduler_config(self) -> Traversable | None:
        """Return the scheduler's YAML file, if it has one."""
        return cast("Traversable | None", self._ask("rps_scheduler_config"))

    def command_variables(self) -> CommandVariables | None:
        """Return how the scheduler's commands depend on environment variables; None: they do not."""
        return cast("CommandVariables | None", self._ask("rps_command_variables"))

    def identity(self, shell: Shell) -> str | None:
        """Return what the scheduler calls its cluster; None: it has no such name.

        An answer is kept. One that does not answer is not asked again for some seconds: a command asks for
        each of its sessions, and each time would take until the timeout.

        Raises:
            SchedulerError: it does not answer.
        """
        if self._silence is not None and time.monotonic() < self._silent_until:
            raise self._silence
        if self._identity is None:
            try:
                known = answered_by(self.answered, shell)
                self._identity = cast("str | None", self._ask("rps_cluster_identity", shell=known))
            except SchedulerError as error:
                self._silence, self._silent_until = error, time.monotonic() + _SILENCE_KEPT
                raise
        return self._identity

    def cluster_hosts(self, shell: Shell) -> list[str]:
        """Return names or addresses of the cluster's hosts, compute nodes first; empty: not known.

        Raises:
            SchedulerError: the scheduler does not answer.
        """
        answer = cast("Sequence[str] | None", self._ask("rps_cluster_hosts", shell=shell))
        return list(answer or ())

    def job_traits(self) -> JobTraits:
        """Return the properties of the scheduler's jobs."""
        return cast("JobTraits", self._need("rps_job_traits"))

    def log_causes(self) -> list[LogCause]:
        """Return the causes of messages in a job's log, the site's first."""
        answers = (
            self._registered.ask("rps_log_causes", (plugin,), cluster=self.cluster)
            for plugin in self._plugins
        )
        return [cause for answer in answers for cause in answer or ()]

    def default_allocation(self, shell: Shell) -> str | None:
        """Return the account to charge if none is configured."""
        return cast("str | None", self._ask("rps_default_allocation", shell=shell))

    def partitions(self, shell: Shell) -> list[str]:
        """Return the partitions or queues, the default first; empty: not known."""
        return list(cast("Sequence[str] | None", self._ask("rps_partitions", shell=shell)) or ())

    def allocations(self, shell: Shell) -> list[str]:
        """Return the accounts that the user may charge; empty: not known."""
        return list(cast("Sequence[str] | None", self._ask("rps_allocations", shell=shell)) or ())

    def check_request(self, request: JobRequest, shell: Shell) -> list[tuple[str, RequestChange]]:
        """Return the changes of a request with the plugin of each, in their order.

        Raises:
            RequestRefusedError: the site refuses the request.
        """
        found: list[tuple[str, RequestChange]] = []
        for plugin in self._plugins:
            answer = cast(
                "RequestChange | None",
                self._registered.ask(
                    "rps_check_request",
                    (plugin,),
                    cluster=self.cluster,
                    request=request,
                    shell=shell,
                ),
            )
            if answer is not None:
                found.append((plugin, answer))
                request = replace(request, allocation=answer.allocation)
        return found

    def render_batch(self, spec: SessionSpec) -> str:
        """Return the batch script."""
        return str(self._need("rps_render_batch", spec=spec))

    def submit(self, spec: SessionSpec, script: Path, shell: Shell) -> Submitted:
        """Submit the script; return the job's id, and what the scheduler printed beside it."""
        answer = self._need("rps_submit", spec=spec, script=script, shell=shell)
        return answer if isinstance(answer, Submitted) else Submitted(job_id=str(answer))

    def poll(self, jobs: Sequence[Job], shell: Shell) -> Mapping[str, JobStatus]:
        """Return the status of each job by its id."""
        answer = self._need("rps_poll", jobs=jobs, shell=shell)
        return cast("Mapping[str, JobStatus]", answer)

    def poll_all_users(self, job_ids: Sequence[str], shell: Shell) -> Mapping[str, ObservedJob]:
        """Return the status of jobs of all users by id.

        Raises:
            RpsError: neither plugin has that hook.
        """
        answer = self._need("rps_poll_all_users", job_ids=job_ids, shell=shell)
        return cast("Mapping[str, ObservedJob]", answer)

    def job_name(self, session: str) -> str:
        """Return the name of the session's job; raises as `poll_all_users`."""
        return str(self._need("rps_job_name", session=session))

    def job_details(self, job: Job, shell: Shell) -> Sequence[Evidence]:
        """Return the scheduler's accounting of one job; empty: none."""
        answer = self._ask("rps_job_details", job=job, shell=shell)
        return cast("Sequence[Evidence] | None", answer) or ()

    def find_jobs(
        self, submissions: Sequence[Submission], shell: Shell
    ) -> Mapping[str, str] | None:
        """Return the ids of the submitted jobs by tag; None: not known."""
        # Where the site's plugin fails, the scheduler's may look for jobs of other names, and find none.
        answer = self._registered.ask_strictly(
            "rps_find_jobs",
            self._plugins,
            cluster=self.cluster,
            submissions=submissions,
            shell=shell,
        )
        return cast("Mapping[str, str] | None", answer)

    def list_jobs(self, shell: Shell) -> Sequence[str] | None:
        """Return the ids of the user's living jobs of rps; None: not known."""
        return cast("Sequence[str] | None", self._ask("rps_list_jobs", shell=shell))

    def health_checks(self) -> Sequence[HealthCheck] | None:
        """Return the commands that show whether the scheduler answers."""
        return cast("Sequence[HealthCheck] | None", self._ask("rps_health_checks"))

    def cancel(self, job: Job, shell: Shell) -> bool:
        """Cancel a job; return False if it had ended before."""
        return bool(self._need("rps_cancel", job=job, shell=shell))

    def current_job(self, environment: Mapping[str, str]) -> str | None:
        """Return the id of the job that a shell with this environment is in."""
        return cast("str | None", self._ask("rps_current_job", environment=environment))

    def job_origin(self, environment: Mapping[str, str]) -> JobOrigin | None:
        """Return where the job that a shell with this environment is in was submitted."""
        return cast("JobOrigin | None", self._ask("rps_job_origin", environment=environment))

    def start_step(self, spec: SessionSpec, job_id: str, script: Path, shell: Shell) -> None:
        """Run the script inside a running job, in the background."""
        self._need("rps_start_step", spec=spec, job_id=job_id, script=script, shell=shell)

    def end_step(self, job: Job, shell: Shell) -> bool:
        """End what was started inside a job, and not the job."""
        return bool(self._need("rps_end_step", job=job, shell=shell))

    def session_started(self, record: SessionRecord) -> None:
        """Notify the observers."""
        self._notify("rps_session_started", record)

    def session_ended(self, record: SessionRecord) -> None:
        """Notify the observers."""
        self._notify("rps_session_ended", record)

    def _ask(self, hook: str, **arguments: object) -> object:
        return self._registered.ask(hook, self._plugins, cluster=self.cluster, **arguments)

    def _need(self, hook: str, **arguments: object) -> object:
        return self._registered.need(hook, self._plugins, cluster=self.cluster, **arguments)

    def _notify(self, hook: str, record: SessionRecord) -> None:
        """Call both observers; what goes wrong in one is noted, and harms no session."""
        for plugin in self._plugins:
            try:
                self._registered.ask(hook, (plugin,), record=copy.deepcopy(record))
            except RpsError as error:
                self._registered.note(plugin, hook, error.message)
