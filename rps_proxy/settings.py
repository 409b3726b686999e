"""The service's configuration: packaged defaults < /etc/rps/proxy.yaml or --config < options.

What each key means stands in `conf/rps_conf/proxy.yaml`, once.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

from rps_core import config, paths
from rps_core.config import Layer, Origin
from rps_core.errors import UsageError
from rps_proxy import local
from rps_proxy.engines import ENGINES

SYSTEM_FILE = Path("/etc/rps/proxy.yaml")
MOST_WORKERS = 1024
LOCAL_IDLE_EXIT = 900.0  # seconds; see `idle_exit` in proxy.yaml
_OWN_MACHINE = ["127.0.0.0/8"]

_HOST_NAME = re.compile(
    r"(?=.{1,200}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """See `haproxy` in proxy.yaml."""

    program: str
    group: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Apache:
    """See `apache` in proxy.yaml."""

    program: str
    user: str
    group: str | None
    modules: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """See `listen` in proxy.yaml."""

    address: str
    port: int
    public_port: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """See `tls` in proxy.yaml."""

    certificate: str | None
    key: str | None
    ca_directory: str | None
    days: int
    hsts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """See `networks` in proxy.yaml."""

    issue: tuple[str, ...]
    issue_key_file: str | None
    redeem: tuple[str, ...]
    exclude: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Munge:
    """See `munge` in proxy.yaml."""

    socket: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compat:
    """See `compat` in proxy.yaml."""

    cgi: bool
    networks: tuple[str, ...] | None
    job_states_from: tuple[str, ...]
    route_hours: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """See `feed` in proxy.yaml."""

    cluster: str | None
    networks: tuple[str, ...]
    key_file: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """See `pages` in proxy.yaml."""

    most_waiting: int
    most_waiting_of_one: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """See `limits` in proxy.yaml."""

    issues_per_minute: int
    pending_per_source: int
    pending_per_user: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """See `lease` in proxy.yaml; seconds."""

    length: float
    renew_every: float
    sweep_every: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """See `keep` in proxy.yaml; days."""

    pending: float
    lapsed: float
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """See `upstream` in proxy.yaml; seconds."""

    connect_timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Websocket:
    """See `websocket` in proxy.yaml; seconds."""

    ping_every: float
    dead_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """See `admin` in proxy.yaml."""

    socket: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """See `audit` in proxy.yaml."""

    file: str | None
    most_per_minute: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """See `log` in proxy.yaml."""

    level: str
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration of the service."""

    domain: str
    engine: str
    workers: str
    engine_directory: str | None
    haproxy: Program
    apache: Apache
    listen: Listen
    directory: str | None
    tls: Tls
    networks: Networks
    auth: str
    munge: Munge
    compat: Compat
    feed: Feed
    pages: Pages
    limits: Limits
    lease: Lease
    keep: Keep
    upstream: Upstream
    websocket: Websocket
    idle_exit: float
    admin: Admin
    audit: Audit
    log: Log

    @property
    def service_directory(self) -> Path:
        """Where the service keeps its files."""
        return _directory(self.directory, "XDG_STATE_HOME", ".local/state", "service")

    @property
    def engine_path(self) -> Path:
        """Where the service and an engine with a life of its own meet."""
        if self.engine_directory is not None:
            return Path(self.engine_directory).expanduser()
        return self.service_directory.with_name("engine")

    @property
    def engine_kind(self) -> str:
        """The engine, with `auto` decided."""
        if self.engine != "auto":
            return self.engine
        return "haproxy" if shutil.which(self.haproxy.program) else "embedded"

    @property
    def worker_count(self) -> int:
        """In how many processes the embedded engine carries the traffic; 1: in the service's own."""
        if self.engine_kind != "embedded":
            return 1
        return len(os.sched_getaffinity(0)) if self.workers == "auto" else int(self.workers)

    @property
    def engine_group(self) -> str | None:
        """The group of the engine's account; None: the engine runs as the service's."""
        return self.apache.group if self.engine_kind == "apache" else self.haproxy.group

    @property
    def strict_transport(self) -> str | None:
        """The value of Strict-Transport-Security on what the service and its engine answer."""
        if not self.tls.hsts or self.domain.endswith(".localhost"):
            return None
        return f"max-age={self.tls.hsts}"

    @property
    def ca_directory(self) -> Path:
        """Where the CA for the front certificate is kept, if one is used."""
        return _directory(
            self.tls.ca_directory, "XDG_DATA_HOME", ".local/share", f"ca/{self.domain}"
        )


def load(config_file: Path | None = None, assignments: Sequence[str] = ()) -> Settings:
    """Read, merge and check all layers. `assignments` are `key=value` options.

    Raises:
        UsageError: an unknown key, a value of the wrong type or out of its range; names file and line.
    """
    layers = [config.packaged_layer("defaults", files("rps_conf") / "proxy.yaml")]
    layer = config.file_layer("system", config_file or SYSTEM_FILE)
    if layer is not None:
        layers.append(layer)
    elif config_file is not None:
        raise UsageError(f"{config_file}: there is no such file", "Check the path after --config.")
    layers.append(config.option_layer(assignments))
    settings, origins = config.merge(Settings, layers)
    _check(settings, layers, origins)
    return settings


def load_local(directory: Path) -> Settings:
    """The settings of a user's own service: as `load`, but with the user's `proxy.yaml`.

    What makes it local (its address, domain, directory, key and CA) is not for that file to say.
    """
    fixed = {
        "directory": str(directory),
        "domain": local.DOMAIN,
        "engine": "embedded",
        "workers": "1",
        "auth": "none",
        "compat": {"cgi": False},  # whose names anybody on the machine could redeem
        "listen": {"address": local.ADDRESS, "public_port": None},
        "networks": {
            "issue": _OWN_MACHINE,
            # Every user of the machine has that address.
            "issue_key_file": str(directory / local.KEY_FILE),
            "redeem": _OWN_MACHINE,
        },
        "tls": {"certificate": None, "key": None},
        "feed": {"networks": [], "key_file": None},
        "admin": {"socket": None},
    }
    layers = [
        config.packaged_layer("defaults", files("rps_conf") / "proxy.yaml"),
        Layer("local", "rps", {"idle_exit": LOCAL_IDLE_EXIT}),
    ]
    layer = config.file_layer("user", paths.config_file().with_name("proxy.yaml"))
    if layer is not None:
        layers.append(layer)
    layers.append(Layer("local", "rps", fixed))
    settings, origins = config.merge(Settings, layers)
    _check(settings, layers, origins)
    return settings


def _check(settings: Settings, layers: Sequence[Layer], origins: dict[str, Origin]) -> None:
    """What types alone do not say."""

    def require(holds: bool, keys: str, rule: str) -> None:
        """`keys` are the values that the rule is about; the one that somebody set is at fault."""
        if not holds:
            ours = [key for key in keys.split() if origins[key].layer != layers[0].name]
            key = (ours or keys.split())[-1]
            raise UsageError(f"{origins[key].where}: `{key}` {rule}")

    listen, networks, tls = settings.listen, settings.networks, settings.tls
    lease, websocket = settings.lease, settings.websocket
    require(
        settings.engine in ("auto", *ENGINES),
        "engine",
        f"must be auto, {', '.join(ENGINES[:-1])} or {ENGINES[-1]}",
    )
    require(
        settings.workers == "auto" or _is_number(settings.workers, MOST_WORKERS),
        "workers",
        f"must be auto, or 1 to {MOST_WORKERS}",
    )
    require(
        _is_address(listen.address),
        "listen.address",
        'must be an address of this machine, such as 192.0.2.7, or "::" for all, without brackets or a zone',
    )
    for key, port in (("port", listen.port), ("public_port", listen.public_port)):
        require(port is None or 0 <= port <= 65535, f"listen.{key}", "must be a port, 0 to 65535")
    require(
        _HOST_NAME.fullmatch(settings.domain) is not None,
        "domain",
        "must be a domain of two labels or more, in lower case and without a dot at its end, "
        f"such as rps.example.org, and is {settings.domain!r}",
    )
    compat = settings.compat
    for key, listed in (
        ("networks.issue", networks.issue),
        ("networks.redeem", networks.redeem),
        ("networks.exclude", networks.exclude),
        ("compat.networks", compat.networks or ()),
        ("compat.job_states_from", compat.job_states_from),
        ("feed.networks", settings.feed.networks),
    ):
        for network in listed:
            require(_is_network(network), key, f"holds {network!r}, no network{_meant(network)}")
    require(settings.auth in ("none", "munge"), "auth", "must be none or munge")
    require(
        bool(settings.feed.networks) == (settings.feed.key_file is not None),
        "feed.networks feed.key_file",
        "is not enough: `feed.networks` and `feed.key_file` go together",
    )
    for key in ("most_waiting", "most_waiting_of_one"):
        require(getattr(settings.pages, key) >= 0, f"pages.{key}", "must be 0 or more")
    require(compat.route_hours > 0, "compat.route_hours", "must be more than 0")
    for key in ("issues_per_minute", "pending_per_source", "pending_per_user"):
        require(getattr(settings.limits, key) >= 0, f"limits.{key}", "must be 0 or more")
    for key in ("pending", "lapsed", "ended"):
        require(getattr(settings.keep, key) > 0, f"keep.{key}", "must be more than 0")
    require(settings.idle_exit >= 0, "idle_exit", "must be 0 or more")
    require(tls.hsts >= 0, "tls.hsts", "must be 0 or more")
    require(
        (tls.certificate is None) == (tls.key is None),
        "tls.certificate tls.key",
        "is not enough: `tls.certificate` and `tls.key` go together",
    )
    require(tls.days >= 3, "tls.days", "must be 3 or more")
    for key in ("length", "renew_every", "sweep_every"):
        require(getattr(lease, key) > 0, f"lease.{key}", "must be more than 0")
    require(
        lease.length >= 2 * lease.renew_every,
        "lease.length lease.renew_every",
        "breaks a rule: `lease.length` is at least twice `lease.renew_every`, "
        "so that one lost renewal ends no session",
    )
    require(websocket.ping_every > 0, "websocket.ping_every", "must be more than 0")
    require(
        websocket.dead_after >= 2 * websocket.ping_every,
        "websocket.dead_after websocket.ping_every",
        "breaks a rule: `websocket.dead_after` is at least twice `websocket.ping_every`",
    )
    require(
        settings.upstream.connect_timeout > 0, "upstream.connect_timeout", "must be more than 0"
    )
    require(settings.audit.most_per_minute >= 1, "audit.most_per_minute", "must be 1 or more")
    require(
        settings.log.level in ("warning", "info", "debug"),
        "log.level",
        "must be warning, info or debug",
    )
    require(settings.log.format in ("text", "json"), "log.format", "must be text or json")


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _is_address(text: str) -> bool:
    try:
        # One that needs a zone is in no DNS, and no engine would take it.
        return "%" not in text and bool(ip_address(text))
    except ValueError:
        return False


def _meant(text: str) -> str:
    """Which network may be meant, where an address in it was given."""
    try:
        return f": is {ip_interface(text).network} meant?"
    except ValueError:
        return ""


def _is_number(text: str, most: int) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= most


def _directory(configured: str | None, variable: str, below_home: str, name: str) -> Path:
    if configured is not None:
        return Path(configured).expanduser()
    # The XDG specification has relative values ignored.
    base = os.environ.get(variable, "")
    return (Path(base) if base.startswith("/") else Path.home() / below_home) / "rps" / name
