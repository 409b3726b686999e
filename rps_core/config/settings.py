"""The launcher's configuration: its schema and its layers.

defaults < scheduler < site (or site file) < /etc/rps < the scheduler's variables (SBATCH_ACCOUNT) <
~/.config/rps < RPS_* variables < profile < options. The settings of an earlier session go below a profile
(`Overrides`). The two files may also have a section `sites: {<cluster>: {…}}`, which counts on that cluster
only, above the rest of its file.
`conf/rps_conf/defaults.yaml` documents each key.

Merging takes longer than the rest of a start, so the result is kept (`cache`) with everything that it was
made of. The files are read each time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rps_conf

from rps_core.config import cache
from rps_core.config.layers import USER, Layer, Origin, Text, file_text, packaged_text
from rps_core.errors import UsageError
from rps_core.system import paths
from rps_core.values import dataclass

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from rps_core.config.mistakes import Mistakes

# Variables that are not keys; docs/configuration.md documents them.
RESERVED_VARIABLES = frozenset(
    {
        "RPS_BLOCK",
        "RPS_CLUSTER",
        "RPS_EXTRAS",
        "RPS_JOB_ID",
        "RPS_LOCAL_SERVICE_DIR",
        "RPS_LOCK",
        "RPS_PYTHON",
        "RPS_SESSION",
        "RPS_SYSTEM_CONFIG",
        "RPS_VENV",
        "RPS_WHEELS",
    }
)
# Layers without a file.
EARLIER = "earlier session"
OPTIONS = "options"
SYSTEM = "system"
VARIABLES = "scheduler's variables"  # such as SBATCH_ACCOUNT
ENVIRONMENT = "environment"  # a variable RPS_*

DEFAULTS = Path(rps_conf.__file__).with_name("defaults.yaml")
# A text that may also be written as a mapping: {a100: 2} is a100:2 (`merge`).
_BY_TYPE = {"counts": True}
# A section that may also be written as one word: `proxy: personal` is {own: true}.
_PROXY_IN_A_WORD = {"words": {"personal": {"own": True}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """See `proxy` in defaults.yaml."""

    domain: str | None
    port: int
    ca_file: str | None
    timeout: float
    munge_socket: str | None
    own: bool
    listen: str | None
    protocol: str
    node_address: str | None

    @property
    def personal(self) -> bool:
        """Whether the user's own service is used: as it says, or because no other is configured."""
        return self.own or not self.domain

    @property
    def tunnelled(self) -> bool:
        """Whether that service is a login node's, which ssh reaches; else browsers of this machine do."""
        return self.listen != "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportSettings:
    """See `support` in defaults.yaml."""

    name: str | None
    url: str | None
    email: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """See `job` in defaults.yaml."""

    account: str | None
    partition: str | None
    qos: str | None
    reservation: str | None
    constraint: str | None
    nodes: int
    tasks: int
    cpus: int | None
    gpus: str | None = field(metadata=_BY_TYPE)
    memory: str | None
    walltime: str
    directives: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookSettings:
    """See `notebook` in defaults.yaml."""

    app: str
    arguments: tuple[str, ...]
    directory: str | None
    jupyter: str | None
    modules: tuple[str, ...]
    venv: str | None
    conda_env: str | None
    provided: str | None
    prologue: str | None
    image: str | None
    bind: tuple[str, ...]
    nv: bool
    template: str | None
    port_range: tuple[int, ...]
    start_timeout: float
    shutdown_before: float
    idle_timeout: str | None
    origins: tuple[str, ...]
    link: str
    install_hint: str | None
    env: str | None
    packages: tuple[str, ...]
    build_on: str
    cache: str | None
    cache_days: float
    cache_size: str | None
    node_copy: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLimits:
    """The limits of one partition; see `limits.partitions` in defaults.yaml."""

    walltime: str | None = None
    cpus: int | None = None
    memory: str | None = None
    gpus: str | None = field(default=None, metadata=_BY_TYPE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """See `limits` in defaults.yaml."""

    require_account: bool
    personal: bool
    personal_sessions: int | None
    personal_idle: float | None
    walltime: str | None
    idle_timeout: str | None
    tcp_kernels: bool
    share: str | None
    partitions: dict[str, PartitionLimits]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """See `scheduler` in defaults.yaml."""

    gpu_directive: str
    gpu_type_resource: str | None
    warn_before: int
    poll_interval: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionDefaults:
    """The defaults of one partition; see `partitions` in defaults.yaml. None: not set here."""

    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    constraint: str | None = None
    nodes: int | None = None
    tasks: int | None = None
    cpus: int | None = None
    gpus: str | None = field(default=None, metadata=_BY_TYPE)
    memory: str | None = None
    walltime: str | None = None
    directives: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration of the launcher."""

    proxy: ProxySettings = field(metadata=_PROXY_IN_A_WORD)
    support: SupportSettings
    job: JobSettings
    notebook: NotebookSettings
    limits: Limits
    scheduler: SchedulerSettings
    apps: dict[str, dict[str, Any]]
    partitions: dict[str, PartitionDefaults]
    node_domain: str | None
    allow_root: bool
    keep_ended: float
    profiles: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """The settings that a command was given, above all files and variables.

    `earlier` holds the settings of the session `session` by dotted key, `options` the values of options by
    dotted key, `flags` the names of these options for error messages, `assignments` those of `--set`. A
    profile overrides an earlier session, and an option overrides both.
    """

    options: Mapping[str, object] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    assignments: Sequence[str] = ()
    profile: str | None = None
    earlier: Mapping[str, object] = field(default_factory=dict)
    session: str = ""


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings, and the origin of each dotted key."""

    settings: Settings
    origins: dict[str, Origin]

    def where(self, key: str) -> str:
        """Where the value of a dotted key was set, for an error message."""
        return self.origins[key].where if key in self.origins else key

    def removal(self, key: str) -> str:
        """Return what a user does to be without the value of a dotted key, as a command."""
        return removal(key, self.origins.get(key))

    def is_option(self, key: str) -> bool:
        """Return whether an option set a dotted key."""
        return key in self.origins and self.origins[key].layer == OPTIONS


@dataclass(frozen=True, slots=True)
class VariableText(Text):
    """The value of a scheduler's variable as a layer, in JSON: `source` is the variable."""

    def parsed(self, mistakes: Mistakes | None = None) -> Layer:  # noqa: ARG002 - as `Text` has it
        """Return the layer; a variable has no lines."""
        return Layer(self.layer, self.source, json.loads(self.text))


def removal(key: str, origin: Origin | None) -> str:
    """Return what a user does to be without a value, as a command, such as `unset RPS_NODE_DOMAIN`.

    Args:
        key: the dotted key.
        origin: where it was set; None: unknown.
    """
    layer, where = ("", "") if origin is None else (origin.layer, origin.where)
    if layer == OPTIONS:
        return f"leave {where} {key} out" if where == "--set" else f"leave {where} out"
    if layer in (ENVIRONMENT, VARIABLES):
        return f"unset {where}"
    if layer.partition(",")[0] == USER:
        return f"remove `{key}` from {where}"
    return f"override it: --set {key}=…"  # of the site, or of an earlier session


def load(
    cluster: str,
    scheduler_config: Traversable | None,
    site_config: Traversable | None,
    *,
    environment: Mapping[str, str],
    given: Overrides | None = None,
    scheduler_variables: Mapping[str, str] | None = None,
) -> LoadedSettings:
    """Read and merge all layers for one cluster.

    `scheduler_variables` are the scheduler's variables that set a key, each with the key.

    Raises:
        ConfigurationError: there are mistakes; names each with file and line.
        UsageError: a file cannot be read or is not safe, or there is no such profile.
    """
    texts = packaged_texts(scheduler_config, site_config)
    system, user = own_text(SYSTEM), own_text(USER)
    texts += [system] if system else []
    texts += variable_texts(scheduler_variables or {}, environment)
    texts += [user] if user else []
    given = given or Overrides()
    variables = key_variables(environment)
    inputs = cache.inputs(cache.code_files(), cluster, texts, variables, asdict(given))
    known = cache.recall(Settings, inputs)
    if known is not None:
        return LoadedSettings(*known)
    from rps_core.config.loading import merge_all
    from rps_core.config.mistakes import Mistakes

    mistakes = Mistakes()
    loaded = merge_all(cluster, texts, variables, given, mistakes)
    mistakes.check()
    cache.note(inputs, loaded.settings, loaded.origins)
    return loaded


def packaged_texts(
    scheduler_config: Traversable | None, site_config: Traversable | None
) -> list[Text]:
    """Return the installed layers: the defaults, the scheduler's, the site's."""
    texts = [packaged_text("defaults", DEFAULTS)]
    if scheduler_config is not None:
        texts.append(packaged_text("scheduler", scheduler_config))
    if site_config is not None:
        texts.append(_site_text(site_config))
    return texts


def _site_text(site_config: Traversable) -> Text:
    if not isinstance(site_config, Path):  # a site file, or one in an archive
        from rps_core.config.site_file import SiteFile

        if isinstance(site_config, SiteFile):
            return site_config.layer()
    return packaged_text("site", site_config)


def own_text(name: str) -> Text | None:
    """Return the file of the administrator (`SYSTEM`) or user (`USER`).

    Raises:
        UsageError: it cannot be read or is not safe, or `RPS_SYSTEM_CONFIG` names a file that is missing.
    """
    if name == USER:
        return file_text(USER, paths.config_file())
    path = paths.system_config_file()
    text = file_text(SYSTEM, path)
    if text is None and os.environ.get("RPS_SYSTEM_CONFIG"):
        raise UsageError(
            f"{path}: no such file; RPS_SYSTEM_CONFIG names it",
            "Correct or unset the variable.",
        )
    return text


def variable_texts(keys: Mapping[str, str], environment: Mapping[str, str]) -> list[Text]:
    """Return one layer for each variable that is set, so that a value's origin is the variable's name."""
    texts: list[Text] = []
    for name, key in sorted(keys.items()):
        if environment.get(name):
            section, _, leaf = key.partition(".")
            values = {section: {leaf: environment[name]}}
            texts.append(VariableText(VARIABLES, name, json.dumps(values)))
    return texts


def key_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables `RPS_*` that set a key, or are meant to."""
    return {
        name: text
        for name, text in sorted(environment.items())
        if name.startswith("RPS_") and name not in RESERVED_VARIABLES
    }
