"""The sections of the service's configuration, as in `conf/rps_conf/proxy.yaml`."""

from __future__ import annotations

from dataclasses import dataclass


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
class Support:
    """See `support` in proxy.yaml."""

    name: str | None
    url: str | None
    email: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSettings:
    """See `pages` in proxy.yaml."""

    title: str | None
    logo: str | None
    message: str | None
    texts: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """See `listen` in proxy.yaml."""

    address: str
    port: int
    public_port: int | None
    redirect_port: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """See `tls` in proxy.yaml."""

    certificate: str | None
    key: str | None
    ca_directory: str | None
    hsts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """See `networks` in proxy.yaml."""

    issue: tuple[str, ...]
    issue_key_file: str | None
    redeem: tuple[str, ...]
    announce: tuple[str, ...]
    exclude: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Munge:
    """See `munge` in proxy.yaml."""

    socket: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SatelliteSettings:
    """See `satellite` in proxy.yaml."""

    calls: bool
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
class Limits:
    """See `limits` in proxy.yaml."""

    issues_per_minute: int
    issues_per_minute_of_user: int
    pending_per_source: int
    pending_per_user: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """See `lease` in proxy.yaml; seconds."""

    length: float
    renew_every: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """See `keep` in proxy.yaml; days."""

    pending: float
    lapsed: float
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """See `clients` in proxy.yaml; times in seconds."""

    connections_per_address: int
    stall_time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Websocket:
    """See `websocket` in proxy.yaml; seconds."""

    ping_every: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """See `admin` in proxy.yaml."""

    socket: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """See `audit` in proxy.yaml."""

    file: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """See `log` in proxy.yaml."""

    level: str
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """See `advanced` in proxy.yaml; times in seconds."""

    sweep_every: float
    waiting_pages: int
    waiting_pages_per_session: int
    connect_timeout: float
    hello_time: float
    head_time: float
    call_time: float
    websocket_dead_after: float
    audit_lines_per_minute: int
