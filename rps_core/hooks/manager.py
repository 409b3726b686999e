"""Find the plugins, and with them the cluster of this host.

There are two typed interfaces: `Plugins` before the cluster is known, `site.Site` after.
"""

from __future__ import annotations

import os
import socket
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from rps_core.errors import DetectionError
from rps_core.hooks.entry_points import Found, entry_points
from rps_core.hooks.presence import Seen, in_time, schedulers_seen
from rps_core.hooks.registration import Registrations
from rps_core.hooks.site import Site
from rps_core.models import Claim, Cluster, Host, JobOrigin, Presence
from rps_core.system import paths
from rps_core.system.programs import which
from rps_core.system.shell import Finished, Shell, bound, noted_in
from rps_core.values import dataclass

if TYPE_CHECKING:
    from rps_core.hooks.faults import Broken

GROUP = "rps"
_SCHEDULER = "scheduler."
_LOCAL = "local"  # the scheduler that runs sessions on this host itself


@dataclass(frozen=True, slots=True)
class Detection:
    """The cluster of this host, why, and every claim that was made.

    Args:
        note: what to print about this choice where a session starts.
        doubt: why it may be the wrong one: a plugin that could claim the host is broken. Empty: no doubt.
    """

    cluster: Cluster
    reasons: tuple[str, ...]
    claims: tuple[Claim, ...]
    note: str = ""
    doubt: str = ""


class ProgramsOnPath(Mapping[str, str]):
    """The host's programs, each looked up on the PATH when it is first read.

    Iterating yields the programs that were looked up so far and found.
    """

    def __init__(self) -> None:
        self._paths: dict[str, str | None] = {}

    def __getitem__(self, name: str) -> str:
        if name not in self._paths:
            self._paths[name] = which(name)
        path = self._paths[name]
        if path is None:
            raise KeyError(name)
        return path

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, path in self._paths.items() if path is not None])

    def __len__(self) -> int:
        return sum(path is not None for path in self._paths.values())


def this_host() -> Host:
    """Return this host's names and programs, without the network."""
    hostname = os.uname().nodename
    return Host(
        hostname=hostname.partition(".")[0],
        fqdn=hostname if "." in hostname else socket.gethostname(),
        commands=ProgramsOnPath(),
    )


class Plugins:
    """The installed plugins; `broken` lists the mistakes in them.

    A scheduler's plugin is loaded by `site` for a cluster that uses it, or by `load_schedulers`.
    """

    def __init__(
        self,
        points: Sequence[Found],
        blocked: frozenset[str] = frozenset(),
        shell: Shell | None = None,
        report: Callable[[Broken], None] | None = None,
        files: Sequence[Found] = (),
    ) -> None:
        """Register the plugins.

        Args:
            points: the entry points.
            blocked: names that are left out.
            shell: runs the commands of detection, instead of the schedulers' own.
            report: called with each mistake, as it is found.
            files: the site files, which come before entry points of the same name.
        """
        self._shell = shell
        self._registered = Registrations(report)
        self._sites: dict[Cluster, Site] = {}
        self._schedulers: dict[str, list[Found]] = {}
        sites = []
        for point in points:
            if point.name in blocked:
                continue
            if point.name.startswith(_SCHEDULER):
                self._schedulers.setdefault(point.name, []).append(point)
            else:
                sites.append(point)
        for file in files:
            if file.name not in {*blocked, *self._registered.names()}:
                self._registered.add([file])
        described = self._registered.names()
        self._registered.add([point for point in sites if point.name not in described])
        self.schedulers = tuple(sorted(name.removeprefix(_SCHEDULER) for name in self._schedulers))

    @property
    def broken(self) -> list[Broken]:
        """Every mistake that was found in a plugin."""
        return self._registered.broken

    @classmethod
    def load(cls, report: Callable[[Broken], None] | None = None) -> Plugins:
        """Load the site files and the entry points of the group `rps`, except those of `RPS_BLOCK`.

        `report` is called with each mistake of a plugin, as it is found."""
        blocked = os.environ.get("RPS_BLOCK", "")
        return cls(
            sorted(entry_points(GROUP), key=lambda point: point.name),
            frozenset(name.strip() for name in blocked.split(",")),
            report=report,
            files=_site_files(),
        )

    def detect(self, host: Host, wanted: str | None = None, *, inside: bool = False) -> Detection:
        """Detect the cluster of this host.

        Args:
            wanted: the name from --cluster or RPS_CLUSTER; it overrides the claims, and the built-in sites
                are then not asked.
            inside: accept a host that cannot submit jobs: a compute node, or one whose scheduler does not
                answer.

        Raises:
            DetectionError: no plugin serves `wanted`, several claim this host, or its site forbids `local`.
        """
        claims = self._claims(host, fallbacks=not wanted, inside=inside)
        if wanted:
            named = self._named(wanted)
            if named.scheduler == _LOCAL and not inside:
                _check_local_is_allowed(claims, wanted)
            return Detection(named, ("it was asked for by name",), claims)
        strong = [claim for claim in claims if not claim.fallback] or list(claims)
        if len(strong) == 1 and strong[0].unusable and not inside:
            raise DetectionError(
                strong[0].unusable,
                strong[0].advice
                or "--cluster NAME overrides this. In an allocation's shell, `rps start --here` starts a "
                "session in it.",
            )
        if len(strong) == 1:
            found = strong[0]
            doubt = self._doubt(found.cluster) if found.fallback else ""
            return Detection(found.cluster, found.reasons, claims, found.note, doubt)
        if not strong:
            raise DetectionError(
                f"No plugin claims this host ({host.hostname})",
                "Name the cluster: --cluster NAME. `rps cluster` lists the clusters and broken plugins.",
            )
        claimed = "; ".join(f"{claim.cluster.name}: {', '.join(claim.reasons)}" for claim in strong)
        names = " or ".join(f"--cluster {claim.cluster.name}" for claim in strong)
        raise DetectionError(
            f"More than one cluster claims this host: {claimed}", f"Choose one: {names}."
        )

    def site(self, cluster: Cluster) -> Site:
        """Return the interface to one cluster: its site's plugin, then its scheduler's.

        Raises:
            DetectionError: the scheduler's plugin is not installed, or broken.
        """
        scheduler = f"{_SCHEDULER}{cluster.scheduler}"
        self._load_scheduler(scheduler)
        if scheduler not in self._registered.names():
            why = [broken for broken in self.broken if broken.plugin == scheduler]
            raise DetectionError(
                f"{cluster.name} uses the scheduler `{cluster.scheduler}`, whose plugin is "
                + (f"broken: {why[0].mistake}" if why else "not installed"),
                "`rps cluster` shows the state of every plugin.",
            )
        if cluster not in self._sites:
            plugins = (cluster.site, scheduler)
            self._sites[cluster] = Site(cluster, self._registered, plugins, self.schedulers)
        return self._sites[cluster]

    def in_a_job(self, environment: Mapping[str, str]) -> bool:
        """Return whether a shell with this environment is in a job."""
        self.load_schedulers()
        return any(
            self._registered.ask_each(
                "rps_current_job",
                [f"{_SCHEDULER}{name}"],
                cluster=Cluster(name=name, site="", scheduler=name),
                environment=environment,
            )
            for name in self.schedulers
        )

    def load_schedulers(self) -> None:
        """Load every scheduler's plugin, to find the broken ones."""
        self._registered.add(
            [point for name in sorted(self._schedulers) for point in self._schedulers[name]]
        )
        self._schedulers.clear()

    def clusters(self) -> list[Cluster]:
        """Return every cluster that a plugin serves."""
        served = self._registered.ask_each(
            "rps_clusters", self._registered.names(), schedulers=self.schedulers
        )
        return [
            cluster
            for name, clusters in served
            for cluster in clusters
            if self._is_its_own(name, cluster, "rps_clusters")
        ]

    def names(self) -> list[str]:
        """Return the names of the loaded plugins."""
        return sorted(self._registered.names())

    def declares_interface(self, name: str) -> bool:
        """Return whether a plugin declares its version of the interface."""
        return self._registered.declares_interface(name)

    def undetected(self) -> list[str]:
        """Return the sites that claim no host: they implement no `rps_detect_cluster`."""
        claiming = self._registered.implementing("rps_detect_cluster")
        sites = {name for name in self.names() if not name.startswith(_SCHEDULER)}
        return sorted(sites - claiming)

    def _doubt(self, cluster: Cluster) -> str:
        """Return why the built-in site's claim may be wrong; empty: no doubt."""
        clusters, schedulers = set(), set()
        for broken in self.broken:
            if broken.plugin.startswith(_SCHEDULER):
                if broken.hook in ("", "rps_scheduler_presence"):
                    schedulers.add(f"`{broken.plugin.removeprefix(_SCHEDULER)}`")
            elif broken.hook in ("", "rps_detect_cluster"):
                served = {one.name for one in self.clusters() if one.site == broken.plugin}
                clusters |= {f"`{name}`" for name in served or {broken.plugin}}
        maybe = [
            f"{what} {' or '.join(sorted(names))}"
            for what, names in (
                ("belong to the cluster", clusters),
                ("have the scheduler", schedulers),
            )
            if names
        ]
        if not maybe:
            return ""
        return f"this host may {' or '.join(maybe)}, whose plugin is broken; going on with `{cluster.name}`"

    def _named(self, wanted: str) -> Cluster:
        matching = [cluster for cluster in self.clusters() if cluster.name == wanted]
        if len(matching) == 1:
            return matching[0]
        known = ", ".join(sorted({cluster.name for cluster in self.clusters()}))
        if matching:
            sites = " and ".join(cluster.site for cluster in matching)
            raise DetectionError(
                f"The plugins {sites} both serve a cluster `{wanted}`",
                "Disable one: RPS_BLOCK=NAME.",
            )
        from rps_core.text import did_you_mean

        near = did_you_mean(wanted, (cluster.name for cluster in self.clusters()))
        raise DetectionError(
            f"No plugin serves a cluster `{wanted}`",
            f"{near}Known clusters: {known}. `rps cluster` lists broken plugins and their mistakes.",
        )

    def _claims(self, host: Host, *, fallbacks: bool, inside: bool) -> tuple[Claim, ...]:
        """Return the sites' claims; ask the built-in sites last.

        They are asked only if no other site claims the host, since they need the schedulers' answers. In a
        job the other sites are asked again before, for the host that submitted it.

        Args:
            host: this host.
            fallbacks: ask the built-in sites too.
            inside: this host may be a compute node.
        """
        last = self._registered.implementing("rps_detect_cluster", last=True)
        sites = [name for name in self._registered.names() if name not in last]
        claims = self._asked_to_claim(sites, host, {})
        if not fallbacks or claims or not last:
            return claims
        before = len(self.broken)
        seen = schedulers_seen(
            host,
            os.environ,
            self.schedulers,
            self._ask_schedulers,
            lambda: len(self.broken) == before,
        )
        schedulers = dict(seen.schedulers)
        for scheduler, job in seen.jobs.items() if inside else ():
            claims += self._claims_by_the_job(sites, host, scheduler, job)
            words = f"this shell is in a job of {scheduler}, as its environment says"
            schedulers[scheduler] = Presence(answers=True, seen=words)
        for name in sorted(last):
            claims = claims or self._asked_to_claim([name], host, schedulers)
        return claims

    def _claims_by_the_job(
        self, sites: Sequence[str], host: Host, scheduler: str, job: JobOrigin
    ) -> tuple[Claim, ...]:
        """Return the sites' claims of the host that submitted the job of this shell."""
        if job.submit_host is None:
            return ()
        assumed = dict.fromkeys(job.commands, "of its job's scheduler")
        submitted = Host(
            hostname=job.submit_host.partition(".")[0],
            fqdn=job.submit_host,
            commands=ChainMap(cast("dict[str, str]", host.commands), assumed),
        )
        reason = f"{job.submit_host} submitted the job of this shell, as its environment says"
        return tuple(
            replace(claim, reasons=(*claim.reasons, reason))
            for claim in self._asked_to_claim(sites, submitted, {}, job.cluster_name)
            if claim.cluster.scheduler == scheduler
        )

    def _asked_to_claim(
        self,
        names: Sequence[str],
        host: Host,
        schedulers: Mapping[str, Presence],
        cluster_name: str | None = None,
    ) -> tuple[Claim, ...]:
        found = self._registered.ask_each(
            "rps_detect_cluster",
            names,
            host=_read_only(host),
            shell=self._shell_of([]),
            schedulers=schedulers,
        )
        return tuple(
            confirmed
            for name, claim in found
            if self._is_its_own(name, claim.cluster, "rps_detect_cluster")
            and (confirmed := self._confirmed(claim, cluster_name))
        )

    def _confirmed(self, claim: Claim, known: str | None) -> Claim | None:
        """Return a claim; None: the scheduler gives its cluster another name.

        The answers of its commands are kept for the cluster's identity.

        Args:
            claim: the claim.
            known: the name that the scheduler gave to a job's environment; None: ask the scheduler.
        """
        wanted = claim.cluster_name
        if wanted is None:
            return claim
        if known is not None:
            return claim if known == wanted else None
        scheduler = f"{_SCHEDULER}{claim.cluster.scheduler}"
        self._load_scheduler(scheduler)
        if scheduler not in self._registered.names():
            return None
        site = self.site(claim.cluster)
        answered: dict[tuple[str, ...], Finished] = {}
        answers = self._registered.ask_each(
            "rps_cluster_name",
            [scheduler],
            cluster=claim.cluster,
            shell=noted_in(answered, self._shell or bound(site.command_variables())),
        )
        if [name for _, name in answers] != [wanted]:
            return None
        site.answered.update(answered)
        reason = f"its scheduler ({claim.cluster.scheduler}) gives the cluster the name `{wanted}`"
        return replace(claim, reasons=(*claim.reasons, reason))

    def _ask_schedulers(self, host: Host, environment: Mapping[str, str]) -> Seen:
        """Ask every scheduler's plugin whether its scheduler is in use, and for the job of this shell."""
        self.load_schedulers()
        names = [name for name in self._registered.names() if name.startswith(_SCHEDULER)]
        found = self._registered.ask_each(
            "rps_scheduler_presence",
            names,
            host=_read_only(host),
            environment=environment,
            shell=in_time(self._shell_of(names)),
        )
        jobs = {
            name: job
            for name in self.schedulers
            for _, job in self._registered.ask_each(
                "rps_job_origin",
                [f"{_SCHEDULER}{name}"],
                cluster=Cluster(name=name, site="", scheduler=name),
                environment=environment,
            )
        }
        return Seen({name.removeprefix(_SCHEDULER): presence for name, presence in found}, jobs)

    def _is_its_own(self, name: str, cluster: Cluster, hook: str) -> bool:
        """Return whether a cluster belongs to its plugin; note it otherwise."""
        if cluster.site == name:
            return True
        reason = (
            f"its cluster `{cluster.name}` has the site `{cluster.site}`, and must have `{name}`"
        )
        self._registered.note(name, hook, reason)
        return False

    def _shell_of(self, schedulers: Sequence[str]) -> Shell:
        """Return a shell for the commands of these schedulers' plugins."""
        if self._shell is not None:
            return self._shell
        variables = [
            answer
            for name in schedulers
            for _, answer in self._registered.ask_each(
                "rps_command_variables",
                [name],
                cluster=Cluster(name="", site="", scheduler=name.removeprefix(_SCHEDULER)),
            )
        ]
        return bound(*variables)

    def _load_scheduler(self, name: str) -> None:
        self._registered.add(self._schedulers.pop(name, []))


def _site_files() -> list[Found]:
    """Return the site files; what reads them is imported only if there are any."""
    found = paths.site_files()
    if not found:
        return []
    from rps_core.hooks.site_files import SiteFilePoint

    return [SiteFilePoint(path) for path in found]


def _check_local_is_allowed(claims: Sequence[Claim], wanted: str) -> None:
    for claim in claims:
        if claim.forbids_local:
            raise DetectionError(
                f"{claim.cluster.name} forbids sessions on this host itself (`--cluster {wanted}`): "
                f"{', '.join(claim.reasons)}",
                f"Leave `--cluster {wanted}` (or RPS_CLUSTER) out: the session then runs as a job of "
                f"{claim.cluster.name}.",
            )


def _read_only(host: Host) -> Host:
    """Return a host that no plugin can change for the next."""
    return replace(host, commands=MappingProxyType(host.commands))
