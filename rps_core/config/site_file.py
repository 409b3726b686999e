"""Site files: a cluster described in YAML, without a plugin. docs/sites.md describes them.

`scheduler`, `detect` and `local` describe the site; every other key is a setting, as in a plugin's
`site.yaml`.
What a file describes is cached with its text, as the merged configuration is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rps_core.config import cache
from rps_core.config.layers import Layer, Text, read_text
from rps_core.errors import UsageError
from rps_core.system import paths
from rps_core.values import dataclass

if TYPE_CHECKING:
    from rps_core.config.mistakes import Mistakes

LAYER = "site file"
FORBIDDEN = "forbidden"
_CACHE = "sites"
_MOST_CACHED = 64
_NAME = r"[a-z0-9][a-z0-9-]{0,39}"
_RESERVED = r"local|generic(-.*)?"
_DOMAIN = r"[A-Za-z0-9]([A-Za-z0-9.-]{0,250})"
_WORD = r"[!-~]{1,256}"
_HOSTS = r"(?:[A-Za-z0-9.*-]|<N>)+"
_HOST_RULE = "a host name, in which `*` stands for anything without a dot and `<N>` for a number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Detect:
    """How the hosts of a cluster are recognized; docs/sites.md describes the keys."""

    login_hosts: tuple[str, ...] = ()
    compute_nodes: tuple[str, ...] = ()
    possible_hosts: tuple[str, ...] = ()
    domain: str | None = None
    cluster_name: str | None = None
    files: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteDescription:
    """What a site file says of its site, beside the settings."""

    scheduler: str
    local: str = "allowed"
    detect: Detect = field(default_factory=Detect)


@dataclass(frozen=True, slots=True)
class SiteFileText(Text):
    """The text of a site file as a layer of the configuration."""

    def parsed(self, mistakes: Mistakes | None = None) -> Layer:
        """Parse it, and leave out what describes the site.

        Raises:
            UsageError: see `yaml_text.parse`.
        """
        from rps_core.config import yaml_text

        document = yaml_text.parse(self.text, self.source, mistakes)
        _, settings = _divided(document.values)
        return Layer(self.layer, self.source, settings, document.lines)


@dataclass(frozen=True, slots=True)
class SiteFile:
    """A site file that was read: a file as `rps_site_config` returns it, with the text that was checked."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        """The name of its cluster and site."""
        return self.path.stem

    def layer(self) -> SiteFileText:
        """Return the layer that it makes."""
        return SiteFileText(LAYER, str(self.path), self.text)

    def is_file(self) -> bool:
        """Return true: it was one when it was read."""
        return True

    def read_text(self, encoding: str | None = None) -> str:  # noqa: ARG002 - as Traversable has it
        """Return the text as it was read."""
        return self.text

    def joinpath(self, *below: str) -> Path:
        """Return a path below it."""
        return self.path.joinpath(*below)

    def __str__(self) -> str:
        return str(self.path)


def read(path: Path) -> SiteFile:
    """Read a site file.

    No other user may be able to write the user's own, nor those in /etc/rps. Where RPS_SYSTEM_CONFIG names
    another place, the files there are trusted as the file that it names.

    Raises:
        UsageError: its name is not valid, it cannot be read, or another user could have written it.
    """
    check_name(path)
    own, _ = paths.site_directories()
    if path.parent == own or not os.environ.get("RPS_SYSTEM_CONFIG"):
        paths.check(
            path,
            "The file names what jobs run, so no other user may be able to write or replace it.",
        )
    text = read_text(LAYER, path)
    if text is None:
        raise UsageError(f"{path}: no such file")
    return SiteFile(path, text.text)


def check_name(path: Path) -> None:
    """Check the name of a site file.

    Raises:
        UsageError: it is not valid.
    """
    if path.suffix != ".yaml":
        raise UsageError(f"{path}: a site file's name ends in .yaml", "Rename it.")
    if not re.fullmatch(_NAME, path.stem):
        raise UsageError(
            f"{path}: `{path.stem}` is not a valid name of a cluster",
            "Use lower-case letters, digits and hyphens, at most 40.",
        )
    if re.fullmatch(_RESERVED, path.stem):
        raise UsageError(f"{path}: the name `{path.stem}` is reserved", "Use another name.")


def describe(file: SiteFile) -> SiteDescription:
    """Return what a site file says of its site; its settings are checked as well.

    Raises:
        ConfigurationError: there are mistakes; names each with file and line.
    """
    made_of = cache.inputs(cache.code_files(), file.name, [file.layer()], {}, {})
    known = cache.recall(SiteDescription, made_of, _CACHE)
    if known is not None:
        return known[0]
    from rps_core.config.mistakes import Mistakes

    mistakes = Mistakes()
    described = check(file, mistakes)
    mistakes.check()
    cache.note(made_of, described, {}, _CACHE, _MOST_CACHED)
    return described


def check(file: SiteFile, mistakes: Mistakes) -> SiteDescription:
    """Collect every mistake in a site file; return what is described without them.

    Raises:
        ConfigurationError: the mistakes leave nothing to go on with.
    """
    from rps_core.config import yaml_text
    from rps_core.config.loading import check_layers, check_profiles
    from rps_core.config.merge import merge

    document = yaml_text.parse(file.text, str(file.path), mistakes)
    description, settings = _divided(document.values)
    layer = Layer(LAYER, str(file.path), description, document.lines)
    if not description.get("scheduler"):
        mistakes.add(
            f"{layer.where('scheduler')}: `scheduler` is missing",
            "Add the line: scheduler: slurm (or torque, pbs)",
        )
        layer = replace(layer, values={**description, "scheduler": "slurm"})
    described, _ = merge(SiteDescription, [layer], mistakes=mistakes)
    for key, value, rule in _broken_rules(described):
        mistakes.add(f"{layer.where(key)}: `{key}` is {value}; it must be {rule}")
    if described.detect.possible_hosts and not described.detect.cluster_name:
        mistakes.add(
            f"{layer.where('detect.possible_hosts')}: `detect.possible_hosts` needs `detect.cluster_name`",
            "Add the name that the scheduler gives the cluster, or list the hosts in login_hosts.",
        )
    rest = Layer(LAYER, str(file.path), settings, document.lines)
    check_layers([rest], mistakes)
    check_profiles([rest], mistakes)
    return described


def host_pattern(hosts: str) -> re.Pattern[str]:
    """Return what matches, in full, the host names that an entry of a list of hosts stands for."""
    parts = (
        {"*": "[A-Za-z0-9-]*", "<N>": "[0-9]+"}.get(part, re.escape(part))
        for part in re.split(r"(\*|<N>)", hosts)
    )
    return re.compile("".join(parts))


def _divided(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide a site file's values: what describes the site, and the settings.

    `scheduler` is a name, or the section of settings with the name as `name`.
    """
    settings = {key: value for key, value in values.items() if key not in ("detect", "local")}
    description = {key: value for key, value in values.items() if key in ("detect", "local")}
    scheduler = settings.pop("scheduler", None)
    if isinstance(scheduler, dict):
        description["scheduler"] = scheduler.get("name")
        settings["scheduler"] = {key: value for key, value in scheduler.items() if key != "name"}
    else:
        description["scheduler"] = scheduler
    return description, settings


def _broken_rules(described: SiteDescription) -> list[tuple[str, str, str]]:
    """Return key, value and rule of each value that is not as it must be."""
    detect = described.detect
    rules: list[tuple[str, tuple[str | None, ...], str, str]] = [
        ("scheduler", (described.scheduler,), _WORD, "the name of a scheduler, such as slurm"),
        (
            "local",
            (described.local,),
            f"allowed|{FORBIDDEN}",
            f"allowed or {FORBIDDEN}",
        ),
        ("detect.login_hosts", detect.login_hosts, _HOSTS, _HOST_RULE),
        ("detect.compute_nodes", detect.compute_nodes, _HOSTS, _HOST_RULE),
        ("detect.possible_hosts", detect.possible_hosts, _HOSTS, _HOST_RULE),
        ("detect.domain", (detect.domain,), _DOMAIN, "a domain, such as expanse.sdsc.edu"),
        ("detect.cluster_name", (detect.cluster_name,), _WORD, "one word"),
        ("detect.files", detect.files, r"/.*", "an absolute path"),
        ("detect.commands", detect.commands, r"[\w.+-]+", "the name of a program"),
    ]
    return [
        (key, value, rule)
        for key, values, pattern, rule in rules
        for value in values
        if value is not None and not re.fullmatch(pattern, value)
    ]
