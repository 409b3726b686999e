"""Site files as plugins: each is registered, asked and reported as an installed plugin is.

Loaded only where there is a site file. `rps_core.config.site_file` reads and checks them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rps_core.config import site_file
from rps_core.config.mistakes import ConfigurationError
from rps_core.config.site_file import Detect, SiteDescription, SiteFile
from rps_core.errors import UsageError
from rps_core.hooks.interface import MistakeError
from rps_core.hookspecs import INTERFACE, hookimpl
from rps_core.models import Claim, Cluster, Host
from rps_core.values import dataclass


@dataclass(frozen=True, slots=True)
class SiteFilePoint:
    """A site file in the place of an entry point."""

    path: Path

    @property
    def name(self) -> str:
        """The name of the site and its cluster."""
        return self.path.stem

    @property
    def value(self) -> str:
        """The path, in place of a module."""
        return str(self.path)

    @property
    def file(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def dist(self) -> Any:
        """No distribution."""
        return None

    def load(self) -> DescribedSite:
        """Read the file.

        Raises:
            MistakeError: it cannot be used; with the file and line of its first mistake.
        """
        try:
            file = site_file.read(self.path)
            return DescribedSite(file, site_file.describe(file))
        except UsageError as error:
            raise _mistake(self.path, error) from None


class DescribedSite:
    """The plugin that a site file makes."""

    RPS_INTERFACE = INTERFACE

    def __init__(self, file: SiteFile, description: SiteDescription) -> None:
        self._file = file
        self._detect = description.detect
        self._forbids_local = description.local == site_file.FORBIDDEN
        self._cluster = Cluster(name=file.name, site=file.name, scheduler=description.scheduler)

    @hookimpl
    def rps_clusters(self) -> Sequence[Cluster]:
        """Return the cluster that the file describes."""
        return [self._cluster]

    @hookimpl
    def rps_detect_cluster(self, host: Host) -> Claim | None:
        """Claim the hosts that the file describes."""
        detect = self._detect
        if detect.domain and not host.fqdn.endswith(f".{detect.domain.lstrip('.')}"):
            return None
        if not all(Path(path).exists() for path in detect.files):
            return None
        if _is_among(host, detect.compute_nodes):
            return self._claim(
                [f"{host.hostname} is a compute node"],
                unusable=f"{host.hostname} is a compute node of {self._file.name}: sessions are started on "
                f"{_words(detect.login_hosts) or 'its login nodes'}",
            )
        is_login = _is_among(host, detect.login_hosts)
        if not is_login and not _may_be(host, detect):
            return None
        reasons = _reasons(host, detect, is_login)
        missing = [name for name in detect.commands if name not in host.commands]
        if not missing:
            return self._claim(reasons, cluster_name=None if is_login else detect.cluster_name)
        if not is_login and detect.cluster_name:
            return None  # the scheduler cannot be asked
        return self._claim(
            reasons,
            unusable=f"{host.hostname} is a login node of {self._file.name}, but "
            f"{_words([f'`{name}`' for name in missing])} {'is' if len(missing) == 1 else 'are'} not on the "
            "PATH",
            advice=f"Load the module of the scheduler ({self._cluster.scheduler}) and try again.",
        )

    @hookimpl
    def rps_site_config(self) -> SiteFile:
        """Return the file: its other keys are the site's settings."""
        return self._file

    def _claim(
        self,
        reasons: Sequence[str],
        *,
        unusable: str | None = None,
        advice: str = "",
        cluster_name: str | None = None,
    ) -> Claim:
        return Claim(
            cluster=self._cluster,
            reasons=(*reasons, f"{self._file.path} describes it"),
            unusable=unusable,
            advice=advice,
            cluster_name=cluster_name,
            forbids_local=self._forbids_local,
        )


def _is_among(host: Host, hosts: Iterable[str]) -> bool:
    """Return whether a list of hosts has this one: an entry with a dot is a full name."""
    return any(
        site_file.host_pattern(one).fullmatch(host.fqdn if "." in one else host.hostname)
        for one in hosts
    )


def _may_be(host: Host, detect: Detect) -> bool:
    """Return whether a host that is not among the login hosts can be one."""
    if detect.possible_hosts:
        return _is_among(host, detect.possible_hosts)
    is_by_name = bool(detect.login_hosts)
    return not is_by_name and bool(detect.domain or detect.cluster_name or detect.files)


def _reasons(host: Host, detect: Detect, is_login: bool) -> list[str]:
    reasons = []
    if is_login:
        reasons.append(f"{host.hostname} is among the login hosts {_words(detect.login_hosts)}")
    elif detect.possible_hosts:
        reasons.append(f"{host.fqdn} is among the possible hosts")
    if detect.domain:
        reasons.append(f"{host.fqdn} is in {detect.domain}")
    reasons += [f"{path} is there" for path in detect.files]
    reasons += [
        f"`{name}` is there ({host.commands[name]})"
        for name in detect.commands
        if name in host.commands
    ]
    return reasons


def _words(words: Sequence[str]) -> str:
    return ", ".join(words)


def _mistake(path: Path, error: UsageError) -> MistakeError:
    """Return the first mistake of a file, with its place, and how many there are."""
    mistakes = error.mistakes if isinstance(error, ConfigurationError) else (error,)
    first = mistakes[0]
    found = re.fullmatch(rf"({re.escape(str(path))}(?::\d+)?): (.*)", first.message, re.DOTALL)
    where, text = (found[1], found[2]) if found else (str(path), first.message)
    reason = ". ".join(filter(None, (text.rstrip("."), first.hint.rstrip("."))))
    if len(mistakes) > 1:
        reason += f" (and {len(mistakes) - 1} more: rps config --check)"
    return MistakeError(" ".join(reason.split()), where)
