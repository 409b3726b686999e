"""Finding plugins, finding out where we are, and asking the right plugins from then on.

The only module that touches pluggy's manager. Callers see two typed faces: `Plugins` before the
cluster is known, `Site` after.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pluggy

from rps_core import hookspecs
from rps_core.entry_points import Found, entry_points
from rps_core.errors import DetectionError, RpsError
from rps_core.log import get_logger
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
from rps_core.shell import Shell, run

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

GROUP = "rps"
_SCHEDULER = "scheduler."
_SCHEDULER_COMMANDS = ("sbatch", "qsub")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Broken:
    """A plugin that could not be used, and why. It costs nobody but itself."""

    plugin: str
    origin: str
    reason: str


@dataclass(frozen=True, slots=True)
class Detection:
    """The cluster we are on, why, and every claim that was made."""

    cluster: Cluster
    reasons: tuple[str, ...]
    claims: tuple[Claim, ...]


def this_host() -> Host:
    """What this machine shows of itself. Asks no network: the full name is what the kernel knows."""
    hostname = os.uname().nodename
    return Host(
        hostname=hostname.partition(".")[0],
        fqdn=hostname if "." in hostname else socket.gethostname(),
        commands={name: path for name in _SCHEDULER_COMMANDS if (path := shutil.which(name))},
    )


class Plugins:
    """All plugins that are installed and sound; `broken` lists the others.

    A scheduler's is loaded when a site that names it is asked for (`site`), or by `load_schedulers`.
    """

    def __init__(
        self,
        points: Sequence[Found],
        blocked: frozenset[str] = frozenset(),
        shell: Shell = run,
    ) -> None:
        self._shell = shell
        self._manager = pluggy.PluginManager("rps")
        self._manager.add_hookspecs(hookspecs)
        self.broken: list[Broken] = []
        self._schedulers: dict[str, list[Found]] = {}
        for point in points:
            if point.name in blocked:
                continue
            if point.name.startswith(_SCHEDULER):
                self._schedulers.setdefault(point.name, []).append(point)
            else:
                self._register(point)

    @classmethod
    def load(cls) -> Plugins:
        """Every entry point of the group `rps`, less those that `RPS_BLOCK` names (with commas)."""
        blocked = os.environ.get("RPS_BLOCK", "")
        return cls(
            sorted(entry_points(GROUP), key=lambda point: point.name),
            frozenset(name.strip() for name in blocked.split(",")),
        )

    def detect(self, host: Host, wanted: str | None = None, *, inside: bool = False) -> Detection:
        """The cluster of this host; `wanted` (from --cluster or RPS_CLUSTER) overrules the claims. With
        `inside`, of a job's shell, it may be a host that no job can be submitted from.

        Raises:
            DetectionError: nobody knows `wanted`, or several plugins claim this host.
        """
        claims = self._claims(host)
        if wanted:
            return Detection(self._named(wanted), ("it was asked for by name",), claims)
        strong = [claim for claim in claims if not claim.fallback] or list(claims)
        if len(strong) == 1 and strong[0].unusable and not inside:
            raise DetectionError(
                strong[0].unusable,
                "--cluster NAME overrules this. In the shell of an allocation, `rps start --here` starts "
                "a session in it.",
            )
        if len(strong) == 1:
            return Detection(strong[0].cluster, strong[0].reasons, claims)
        if not strong:
            raise DetectionError(
                f"No plugin claims this host ({host.hostname})",
                "Name the cluster: --cluster NAME. `rps cluster` shows which plugins there are.",
            )
        told = "; ".join(f"{claim.cluster.name}: {', '.join(claim.reasons)}" for claim in strong)
        names = " or ".join(f"--cluster {claim.cluster.name}" for claim in strong)
        raise DetectionError(f"More than one cluster claims this host: {told}", f"Say {names}.")

    def site(self, cluster: Cluster) -> Site:
        """The face of one cluster: its site plugin first, then its scheduler's.

        Raises:
            DetectionError: the scheduler's plugin is not there, or broken.
        """
        scheduler = f"{_SCHEDULER}{cluster.scheduler}"
        self._load_scheduler(scheduler)
        if self._manager.get_plugin(scheduler) is None:
            why = [broken.reason for broken in self.broken if broken.plugin == scheduler]
            raise DetectionError(
                f"{cluster.name} uses the scheduler `{cluster.scheduler}`, whose plugin is "
                + (f"broken: {why[0]}" if why else "not installed"),
                "`rps cluster` shows the state of every plugin.",
            )
        return Site(cluster, self._manager, (cluster.site, scheduler))

    def load_schedulers(self) -> None:
        """Load every scheduler's plugin, to see which are broken."""
        for name in sorted(self._schedulers):
            self._load_scheduler(name)

    def clusters(self) -> list[Cluster]:
        """Every cluster that some plugin serves."""
        found: list[Cluster] = []
        for name, plugin in self._manager.list_name_plugin():
            found += self._ask_one(name, plugin, "rps_clusters") or []
        return found

    def names(self) -> list[str]:
        """Every plugin that is loaded."""
        return sorted(name for name, _ in self._manager.list_name_plugin())

    def undetected(self) -> list[str]:
        """Sites that claim no host, since they implement no `rps_detect_cluster`."""
        implementations = self._manager.hook.rps_detect_cluster.get_hookimpls()
        claiming = {found.plugin_name for found in implementations}
        sites = {name for name in self.names() if not name.startswith(_SCHEDULER)}
        return sorted(sites - claiming)

    def _named(self, wanted: str) -> Cluster:
        matching = [cluster for cluster in self.clusters() if cluster.name == wanted]
        if len(matching) == 1:
            return matching[0]
        known = ", ".join(sorted({cluster.name for cluster in self.clusters()}))
        if matching:
            sites = " and ".join(cluster.site for cluster in matching)
            raise DetectionError(
                f"The plugins {sites} both serve a cluster `{wanted}`", "Block one."
            )
        from rps_core.wording import did_you_mean

        near = did_you_mean(wanted, (cluster.name for cluster in self.clusters()))
        raise DetectionError(
            f"No plugin serves a cluster `{wanted}`",
            f"{near}Known are: {known}. `rps cluster` shows which plugins are broken, and why.",
        )

    def _claims(self, host: Host) -> tuple[Claim, ...]:
        """The built-in sites, which answer last, are asked only where nobody else claims the host: one of
        them may have to run a command for its answer."""
        claims: list[Claim] = []
        implementations = self._manager.hook.rps_detect_cluster.get_hookimpls()
        last = {found.plugin_name for found in implementations if found.trylast}
        plugins = self._manager.list_name_plugin()
        for name, plugin in sorted(plugins, key=lambda found: found[0] in last):
            if claims and name in last:
                break
            claim = self._ask_one(name, plugin, "rps_detect_cluster", host=host, shell=self._shell)
            if claim is not None:
                claims.append(claim)
        return tuple(claims)

    def _ask_one(self, name: str, plugin: object, hook: str, **arguments: object) -> Any:
        """One plugin's answer; a plugin that raises is noted as broken."""
        caller = _only(self._manager, hook, (name,))
        try:
            answers = caller(**arguments)
        except Exception as error:  # noqa: BLE001 - other people's code: it must cost only itself
            self.broken.append(Broken(name, repr(plugin), f"{hook}: {_told(error)}"))
            return None
        return answers[0] if answers else None

    def _load_scheduler(self, name: str) -> None:
        for point in self._schedulers.pop(name, []):
            self._register(point)

    def _register(self, point: Found) -> None:
        try:
            self._manager.register(point.load(), point.name)
            self._manager.check_pending()
        except Exception as error:  # noqa: BLE001 - as above, at import
            if self._manager.get_plugin(point.name) is not None:
                self._manager.unregister(name=point.name)
            origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
            self.broken.append(Broken(point.name, origin, _told(error)))


class Site:
    """Everything that is asked of one cluster. Each method is one hook (see `hookspecs`)."""

    def __init__(
        self, cluster: Cluster, manager: pluggy.PluginManager, plugins: tuple[str, str]
    ) -> None:
        self.cluster = cluster
        self._manager = manager
        self._plugins = plugins

    def site_config(self) -> Traversable | None:
        """The site's YAML, if it has one."""
        return cast("Traversable | None", self._call("rps_site_config"))

    def scheduler_config(self) -> Traversable | None:
        """The scheduler's YAML, if it has one."""
        return cast("Traversable | None", self._call("rps_scheduler_config"))

    def default_allocation(self, shell: Shell) -> str | None:
        """The account to charge where none is configured."""
        return cast("str | None", self._call("rps_default_allocation", shell=shell))

    def partitions(self, shell: Shell) -> list[str]:
        """The partitions or queues of the cluster, the default one first; empty where nobody knows."""
        return list(cast("Sequence[str] | None", self._call("rps_partitions", shell=shell)) or ())

    def allocations(self, shell: Shell) -> list[str]:
        """The allocations that the user may charge; empty where nobody knows."""
        return list(cast("Sequence[str] | None", self._call("rps_allocations", shell=shell)) or ())

    def render_batch(self, spec: SessionSpec) -> str:
        """The batch script."""
        return str(self._answer("rps_render_batch", spec=spec))

    def submit(self, spec: SessionSpec, script: Path, shell: Shell) -> str:
        """The id of the job that was submitted."""
        return str(self._answer("rps_submit", spec=spec, script=script, shell=shell))

    def poll(self, jobs: Sequence[Job], shell: Shell) -> Mapping[str, JobStatus]:
        """The status of each job by id."""
        answer = self._answer("rps_poll", jobs=jobs, shell=shell)
        return cast("Mapping[str, JobStatus]", answer)

    def poll_everybody(self, job_ids: Sequence[str], shell: Shell) -> Mapping[str, Sighting]:
        """What the scheduler shows of anybody's jobs by id.

        Raises:
            RpsError: neither plugin has that hook.
        """
        answer = self._answer("rps_poll_everybody", job_ids=job_ids, shell=shell)
        return cast("Mapping[str, Sighting]", answer)

    def job_name(self, session: str) -> str:
        """The name of that session's job in the scheduler; raises as `poll_everybody`."""
        return str(self._answer("rps_job_name", session=session))

    def testimony(self, job: Job, shell: Shell) -> Sequence[Evidence]:
        """What the scheduler tells of one job; nothing where its plugin has no word for it."""
        answer = self._call("rps_testimony", job=job, shell=shell)
        return cast("Sequence[Evidence] | None", answer) or ()

    def find_jobs(
        self, submissions: Sequence[Submission], shell: Shell
    ) -> Mapping[str, str] | None:
        """The ids of the jobs that came of these, by tag; None where the plugin cannot say."""
        answer = self._call("rps_find_jobs", submissions=submissions, shell=shell)
        return cast("Mapping[str, str] | None", answer)

    def tagged_jobs(self, shell: Shell) -> Sequence[str] | None:
        """The ids of all living jobs that rps submitted for this user; None as above."""
        return cast("Sequence[str] | None", self._call("rps_tagged_jobs", shell=shell))

    def questions(self) -> Sequence[Question] | None:
        """What shows whether the scheduler answers; None as above."""
        return cast("Sequence[Question] | None", self._call("rps_questions"))

    def cancel(self, job: Job, shell: Shell) -> bool:
        """End a job; False where it was over already."""
        return bool(self._answer("rps_cancel", job=job, shell=shell))

    def held_job(self, environment: Mapping[str, str]) -> str | None:
        """The id of the job that a shell with this environment is in."""
        return cast("str | None", self._call("rps_held_job", environment=environment))

    def start_step(self, spec: SessionSpec, job_id: str, script: Path, shell: Shell) -> None:
        """Run the script inside a running job, in the background."""
        self._answer("rps_start_step", spec=spec, job_id=job_id, script=script, shell=shell)

    def end_step(self, job: Job, shell: Shell) -> bool:
        """End what was started inside a job, and not the job."""
        return bool(self._answer("rps_end_step", job=job, shell=shell))

    def session_started(self, record: Record) -> None:
        """Tell the observers."""
        self._tell("rps_session_started", record)

    def session_ended(self, record: Record) -> None:
        """Tell the observers."""
        self._tell("rps_session_ended", record)

    def _answer(self, hook: str, **arguments: object) -> object:
        answer = self._call(hook, **arguments)
        if answer is None:
            raise RpsError(
                f"Neither {' nor '.join(self._plugins)} answers {hook}",
                "This is a defect of the plugin: report it to whoever ships it.",
            )
        return answer

    def _call(self, hook: str, **arguments: object) -> object:
        return _only(self._manager, hook, self._plugins)(cluster=self.cluster, **arguments)

    def _tell(self, hook: str, record: Record) -> None:
        for plugin in self._plugins:
            try:
                _only(self._manager, hook, (plugin,))(record=record)
            except Exception as error:  # noqa: BLE001 - observers must not harm a session
                log.warning("plugin failed", plugin=plugin, hook=hook, reason=_told(error))


def _only(manager: pluggy.PluginManager, hook: str, names: Sequence[str]) -> pluggy.HookCaller:
    """The hook, as answered by these plugins alone."""
    others = [plugin for name, plugin in manager.list_name_plugin() if name not in names]
    return manager.subset_hook_caller(hook, remove_plugins=others)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
