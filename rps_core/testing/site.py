"""The contract of every site."""
# ruff: noqa: S101 - these are tests

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import timedelta
from importlib.metadata import entry_points
from pathlib import Path

from rps_core.cluster import ClusterContext
from rps_core.config import settings
from rps_core.errors import UsageError
from rps_core.hooks.manager import GROUP, Plugins
from rps_core.hooks.site_files import SiteFilePoint
from rps_core.launch import plan as planning
from rps_core.launch.spec import session_spec
from rps_core.models import Host
from rps_core.testing.mistakes import fail
from rps_core.testing.recorded import MISSING, RecordedShell, Replies, every_command
from rps_core.units import format_walltime, parse_gpu_limit, parse_memory, parse_walltime


class SiteContract:
    """Tests of a site. Inherit, and describe yours in the class attributes.

    `cluster`: the name of the cluster. `login_hosts`: host names, as `hostname -s` prints them, that
    the site must claim. `other_hosts`: its compute nodes, other clusters' login nodes and similar
    names; none may be claimed. `commands`: the scheduler's commands on a login host.
    `detection`: answers, if the site runs a command to distinguish clusters.
    `site_file`: the site file that describes the cluster, instead of a plugin.
    """

    cluster: str
    login_hosts: tuple[str, ...]
    other_hosts: tuple[str, ...] = ()
    commands: tuple[str, ...] = ("sbatch",)
    detection: Mapping[str | tuple[str, ...], Replies] = {}
    site_file: Path | None = None

    def plugins(self) -> Plugins:
        """Load every installed plugin; `detection` answers the commands that they run.

        A mistake that rps finds in a plugin, then or later, fails the test.
        """
        shell = RecordedShell(self.detection)
        files = [SiteFilePoint(self.site_file)] if self.site_file else []
        return Plugins(list(entry_points(group=GROUP)), shell=shell, report=fail, files=files)

    def host(self, hostname: str) -> Host:
        """Return a host of this name with the scheduler's commands."""
        return Host(
            hostname=hostname,
            fqdn=hostname,
            commands={name: f"/usr/bin/{name}" for name in self.commands},
        )

    def here(self, options: Mapping[str, object] | None = None) -> ClusterContext:
        """Return the cluster, as on a login host without configuration files.

        The account is set, so that the scheduler is not queried for the default.
        """
        plugins = self.plugins()
        found = next(c for c in plugins.clusters() if c.name == self.cluster)
        site = plugins.site(found)
        loaded = settings.load(
            found.name,
            site.scheduler_config(),
            site.site_config(),
            environment={},
            given=settings.Overrides(options={"job.account": "abc123", **(options or {})}),
        )
        return ClusterContext(site, (), loaded, shell=every_command(MISSING))

    def test_the_site_serves_its_cluster(self) -> None:
        """Once, and with an installed scheduler."""
        plugins = self.plugins()
        assert plugins.broken == []
        served = [found for found in plugins.clusters() if found.name == self.cluster]
        assert len(served) == 1
        assert plugins.site(served[0]).cluster == served[0]

    def test_the_interface_is_declared(self) -> None:
        """`RPS_INTERFACE` says which version of the plugin interface it was written for."""
        plugins = self.plugins()
        site = next(c.site for c in plugins.clusters() if c.name == self.cluster)
        assert plugins.declares_interface(site)

    def test_each_login_host_is_claimed_with_reasons(self) -> None:
        """By this site alone."""
        assert self.login_hosts
        for hostname in self.login_hosts:
            plugins = self.plugins()
            detection = plugins.detect(self.host(hostname))
            assert plugins.broken == []
            assert detection.cluster.name == self.cluster, hostname
            assert detection.reasons
            assert all(detection.reasons)

    def test_no_other_host_is_claimed(self) -> None:
        """Neither other clusters, nor names that only begin or end like one of the site's."""
        alike = {"", "localhost", *self.other_hosts}
        for name in self.login_hosts:
            alike |= {f"x{name}", f"{name}x", f"{name}.evil", f"{name}\n", name.upper()}
            alike |= {name.rstrip("0123456789")} - {name}
        for hostname in sorted(alike):
            plugins = self.plugins()
            claims = plugins.detect(self.host(hostname), wanted=self.cluster).claims
            usable = {claim.cluster.name for claim in claims if claim.unusable is None}
            assert self.cluster not in usable, hostname
            assert plugins.broken == []

    def test_the_configuration_is_valid_and_complete(self) -> None:
        """The merged layers have a partition with limits, and valid limits.

        Without `proxy.domain` users have personal services, if the site allows them.
        """
        loaded = self.here().loaded.settings
        assert loaded.proxy.domain or loaded.limits.personal
        assert parse_walltime(loaded.job.walltime)
        if loaded.limits.walltime:
            assert parse_walltime(loaded.limits.walltime)
        for limits in loaded.limits.partitions.values():
            assert limits.walltime is None or parse_walltime(limits.walltime)
            assert limits.memory is None or parse_memory(limits.memory)
        if loaded.limits.partitions:
            assert loaded.job.partition in loaded.limits.partitions

    def test_a_dry_run_shows_a_batch_script(self, tmp_path: Path) -> None:
        """For each application, without a command of the scheduler."""
        for app in planning.APPS:
            here = self.here({"notebook.app": app, "notebook.directory": str(tmp_path)})
            script = _rendered(here, tmp_path / "session")
            assert script.startswith("#!")
            assert f"\nRPS_SESSION={shlex.quote(str(tmp_path / 'session'))}\n" in script
            assert script.rstrip().endswith(f'run-agent.sh" --app {app}')

    def test_what_is_above_a_limit_is_refused(self, tmp_path: Path) -> None:
        """For each limit of each partition: its value is accepted, more is not."""
        for partition, most in self.here().loaded.settings.limits.partitions.items():
            for key, allowed, above in _at_the_limit(most):
                base: dict[str, object] = {
                    "job.partition": partition,
                    "job.walltime": "1",
                    "notebook.directory": str(tmp_path),
                }
                if allowed is not None:
                    _plan(self.here({**base, key: allowed}))
                assert _is_refused(self.here({**base, key: above})), f"{partition}: {key}={above}"


def _plan(here: ClusterContext) -> planning.Plan:
    return planning.plan(here, dry_run=True)


def _is_refused(here: ClusterContext) -> bool:
    try:
        _plan(here)
    except UsageError as error:
        return bool(error.message)
    return False


def _rendered(here: ClusterContext, session_dir: Path) -> str:
    name = "one-two-three"
    spec = session_spec(here, _plan(here), name, f"rps:{name}:0a0b0c0d", session_dir)
    return here.site.render_batch(spec)


def _at_the_limit(most: settings.PartitionLimits) -> list[tuple[str, object, object]]:
    """Return for each limit its key, its value (None: zero) and a value above it."""
    found: list[tuple[str, object, object]] = []
    if most.walltime is not None:
        longest = parse_walltime(most.walltime)
        above = format_walltime(longest + timedelta(minutes=1))
        found.append(("job.walltime", format_walltime(longest), above))
    if most.cpus is not None:
        found.append(("job.cpus", most.cpus or None, most.cpus + 1))
    if most.gpus is not None:
        for kind, number in parse_gpu_limit(most.gpus).items():
            found.append(("job.gpus", _gpus(kind, number), _gpus(kind, number + 1)))
    if most.memory is not None:
        found.append(("job.memory", most.memory, f"{parse_memory(most.memory) + 1}M"))
    return found


def _gpus(kind: str | None, number: int) -> str:
    return str(number) if kind is None else f"{kind}:{number}"
