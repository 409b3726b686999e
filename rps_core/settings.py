"""The launcher's configuration: its schema and its seven layers.

defaults < scheduler < site < /etc/rps < ~/.config/rps < RPS_* variables < options. A profile, and the
settings of an earlier session, go between the last two (`Given`). The two files may also have a section
`sites: {<cluster>: {…}}`, which counts on that cluster only, above the rest of its file. What each key
means stands in `conf/rps_conf/defaults.yaml`, once.

Merging costs more than the rest of a start, so the result is remembered (`merged`) beside all that it
was made of. The files are read each time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rps_conf

from rps_core import config, merged, paths, profiles
from rps_core.config import Layer, Origin, Text
from rps_core.errors import UsageError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

# Variables that rps reads beside the configuration; docs/configuration.md tells what for.
RESERVED_VARIABLES = frozenset(
    {
        "RPS_BLOCK",
        "RPS_CLUSTER",
        "RPS_EXTRAS",
        "RPS_JOB_ID",
        "RPS_LOCAL_SERVICE_DIR",
        "RPS_PYTHON",
        "RPS_SESSION",
        "RPS_SYSTEM_CONFIG",
        "RPS_VENV",
    }
)
_DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,250})")
# Layers that are no file's.
EARLIER = "earlier session"
OPTIONS = "options"

_DEFAULTS = Path(rps_conf.__file__).with_name("defaults.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """See `proxy` in defaults.yaml."""

    domain: str | None
    port: int
    ca_file: str | None
    timeout: float
    munge_socket: str | None
    own: bool
    protocol: str


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
    gpus: int | None
    memory: str | None
    walltime: str
    directives: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookSettings:
    """See `notebook` in defaults.yaml."""

    app: str
    directory: str | None
    jupyter: str | None
    modules: tuple[str, ...]
    conda_env: str | None
    prologue: str | None
    image: str | None
    bind: tuple[str, ...]
    nv: bool
    template: str | None
    port_range: tuple[int, ...]
    start_timeout: float
    shutdown_before: float
    idle_timeout: str | None
    install_hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLimits:
    """The most that one partition gives; see `limits.partitions` in defaults.yaml."""

    walltime: str | None = None
    cpus: int | None = None
    memory: str | None = None
    gpus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """See `limits` in defaults.yaml."""

    require_account: bool
    walltime: str | None
    idle_timeout: str | None
    partitions: dict[str, PartitionLimits]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """See `scheduler` in defaults.yaml."""

    gpu_directive: str
    warn_before: int
    poll_interval: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration of the launcher."""

    proxy: ProxySettings
    job: JobSettings
    notebook: NotebookSettings
    limits: Limits
    scheduler: SchedulerSettings
    node_domain: str | None
    allow_root: bool
    keep_ended: float
    profiles: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a command was given, above all files and variables.

    `earlier` holds the settings of the session `session` by dotted key, `options` the values of options by
    dotted key, `assignments` those of `--set`. A profile beats what an earlier session had, and an option
    beats both.
    """

    options: Mapping[str, object] = field(default_factory=dict)
    assignments: Sequence[str] = ()
    profile: str | None = None
    earlier: Mapping[str, object] = field(default_factory=dict)
    session: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and the origin of each key."""

    settings: Settings
    origins: dict[str, Origin]

    def where(self, key: str) -> str:
        """Where the value of a dotted key was set, for an error message."""
        return self.origins[key].where if key in self.origins else key


def load(
    cluster: str,
    scheduler_config: Traversable | None,
    site_config: Traversable | None,
    *,
    environment: Mapping[str, str],
    given: Given | None = None,
) -> Loaded:
    """Read and merge all layers for one cluster.

    Raises:
        UsageError: see `config.merge`; or there is no such profile.
    """
    texts = [config.packaged_text("defaults", _DEFAULTS)]
    if scheduler_config is not None:
        texts.append(config.packaged_text("scheduler", scheduler_config))
    if site_config is not None:
        texts.append(config.packaged_text("site", site_config))
    own = [("system", paths.system_config_file()), ("user", paths.config_file())]
    texts += [text for name, path in own if (text := config.file_text(name, path)) is not None]
    given = given or Given()
    variables = _variables(environment)
    inputs = merged.inputs(_CODE, cluster, texts, variables, asdict(given))
    known = merged.recall(Settings, inputs)
    if known is not None:
        return Loaded(*known)
    layers = _file_layers(cluster, texts) + _environment_layers(variables)
    above = [_flat_layer(OPTIONS, "the command line", given.options)]
    above.append(config.option_layer(given.assignments, OPTIONS))
    _check_profiles([*layers, *above])
    earlier = _flat_layer(EARLIER, f"the settings of {given.session}", given.earlier)
    profile = profiles.chosen(given.profile, [*layers, *above]) if given.profile is not None else []
    loaded = Loaded(*config.merge(Settings, [*layers, earlier, *profile, *above]))
    _check_ranges(loaded)
    merged.note(inputs, loaded.settings, loaded.origins)
    return loaded


# What a layer's texts are read by: other code may have other rules.
_CODE = tuple(Path(name) for name in (__file__, config.__file__, profiles.__file__))


def _file_layers(cluster: str, texts: Sequence[Text]) -> list[Layer]:
    layers: list[Layer] = []
    for text in texts:
        layer = text.parsed()
        if text.layer in ("system", "user"):
            layers += [layer.without("sites"), layer.section(f"sites.{cluster}")]
        else:
            layers.append(layer)
    return layers


def _flat_layer(name: str, source: str, values: Mapping[str, object]) -> Layer:
    """A layer of values by dotted key."""
    nested: dict[str, object] = {}
    for key, value in values.items():
        config.put(nested, key, value)
    return Layer(name, source, nested)


def _check_profiles(layers: Sequence[Layer]) -> None:
    """Each profile alone, on top of the defaults: one that nobody uses today is used tomorrow."""
    for name in profiles.names(layers):
        profile = profiles.chosen(name, layers)
        if profile:
            base = config.packaged_layer("defaults", _DEFAULTS)
            _check_ranges(Loaded(*config.merge(Settings, [base, *profile])))


def _check_ranges(loaded: Loaded) -> None:
    found = loaded.settings
    ports = found.notebook.port_range
    for key, value, allowed, rule in (
        ("proxy.port", found.proxy.port, 1 <= found.proxy.port <= 65535, "a port, 1 to 65535"),
        ("proxy.timeout", found.proxy.timeout, 0 < found.proxy.timeout <= 600, "0 to 600 seconds"),
        *(
            (key, domain, _DOMAIN.fullmatch(domain or "none"), "a host name's domain")
            for key, domain in (
                ("proxy.domain", found.proxy.domain),
                ("node_domain", found.node_domain),
            )
        ),
        (
            "proxy.protocol",
            found.proxy.protocol,
            found.proxy.protocol in ("auto", "rps", "satellite"),
            "auto, rps or satellite",
        ),
        (
            "notebook.port_range",
            list(ports),
            not ports or (len(ports) == 2 and 1024 <= ports[0] <= ports[1] <= 65535),
            "[first, last], two ports from 1024 to 65535",
        ),
        (
            "notebook.start_timeout",
            found.notebook.start_timeout,
            1 <= found.notebook.start_timeout <= 86400,
            "1 second to a day",
        ),
        (
            "notebook.shutdown_before",
            found.notebook.shutdown_before,
            0 <= found.notebook.shutdown_before <= 3600,
            "0 to 3600 seconds",
        ),
        (
            "scheduler.poll_interval",
            found.scheduler.poll_interval,
            0.5 <= found.scheduler.poll_interval <= 3600,
            "half a second to an hour",
        ),
        (
            "scheduler.warn_before",
            found.scheduler.warn_before,
            0 <= found.scheduler.warn_before <= 65535,  # as sbatch takes it
            "0 to 65535 seconds",
        ),
        ("keep_ended", found.keep_ended, 0 <= found.keep_ended <= 3650, "0 to 3650 days"),
    ):
        if not allowed:
            raise UsageError(f"{loaded.where(key)}: `{key}` is {value}; it must be {rule}")


def check_other_sites() -> set[str]:
    """Check the `sites` sections of every other cluster too, as `rps config --check` promises.

    Answers the names of the clusters that have one.

    Raises:
        UsageError: as `load`.
    """
    base = config.packaged_layer("defaults", _DEFAULTS)
    found: set[str] = set()
    for name, path in (("system", paths.system_config_file()), ("user", paths.config_file())):
        layer = config.file_layer(name, path)
        if layer is not None:
            for cluster in layer.section("sites").values:
                section = layer.section(f"sites.{cluster}")
                config.merge(Settings, [base, section])
                _check_profiles([section])
                found.add(cluster)
    return found


def _variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Those that set a key, or seem to be meant to."""
    return {
        name: text
        for name, text in sorted(environment.items())
        if name.startswith("RPS_") and name not in RESERVED_VARIABLES
    }


def _environment_layers(given: Mapping[str, str]) -> list[Layer]:
    """One layer for each variable, so that a value's origin is the variable's name."""
    import difflib

    from rps_core import yaml_text

    variables = {f"RPS_{key.replace('.', '_').upper()}": key for key in config.keys(Settings)}
    layers = []
    for name, text in given.items():
        if name not in variables:
            near = difflib.get_close_matches(name, [*variables, *RESERVED_VARIABLES], n=1)
            hint = f"Did you mean {near[0]}?" if near else "Unset it; `rps config` shows every key."
            raise UsageError(f"The variable {name} is none that rps knows", hint)
        values: dict[str, object] = {}
        config.put(values, variables[name], yaml_text.parse_value(text, name))
        layers.append(Layer("environment", name, values))
    return layers
