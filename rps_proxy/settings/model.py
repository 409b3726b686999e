"""The service's merged configuration, with the values derived from it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rps_proxy.settings.sections import (
    Admin,
    Advanced,
    Apache,
    Audit,
    Clients,
    Feed,
    Keep,
    Lease,
    Limits,
    Listen,
    Log,
    Munge,
    Networks,
    PageSettings,
    Program,
    SatelliteSettings,
    Support,
    Tls,
    Websocket,
)

ADMIN_SOCKET_FILE = "admin.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The configuration of the service; `conf/rps_conf/proxy.yaml` documents each key."""

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
    satellite: SatelliteSettings
    feed: Feed
    limits: Limits
    lease: Lease
    keep: Keep
    clients: Clients
    websocket: Websocket
    idle_exit: float
    support: Support
    pages: PageSettings
    admin: Admin
    audit: Audit
    log: Log
    advanced: Advanced

    @property
    def service_directory(self) -> Path:
        """Directory of the service's files."""
        return _directory(self.directory, "XDG_STATE_HOME", ".local/state", "service")

    @property
    def admin_socket(self) -> Path:
        """Path of the socket for the operator's commands."""
        if self.admin.socket is not None:
            return Path(self.admin.socket).expanduser()
        return self.service_directory / ADMIN_SOCKET_FILE

    @property
    def engine_path(self) -> Path:
        """Directory that the service shares with a separate engine."""
        if self.engine_directory is not None:
            return Path(self.engine_directory).expanduser()
        return self.service_directory.with_name("engine")

    @property
    def engine_kind(self) -> str:
        """The configured engine; for `auto`, HAProxy if it is installed."""
        if self.engine != "auto":
            return self.engine
        return "haproxy" if shutil.which(self.haproxy.program) else "embedded"

    @property
    def worker_count(self) -> int:
        """Processes of the embedded engine; 1: none beside the service's own."""
        if self.engine_kind != "embedded":
            return 1
        return len(os.sched_getaffinity(0)) if self.workers == "auto" else int(self.workers)

    @property
    def engine_group(self) -> str | None:
        """Group of the engine's account; None: the service's account."""
        return self.apache.group if self.engine_kind == "apache" else self.haproxy.group

    @property
    def strict_transport(self) -> str | None:
        """Value of Strict-Transport-Security in all answers; None: no such field."""
        if not self.tls.hsts or self.domain.endswith(".localhost"):
            return None
        return f"max-age={self.tls.hsts}"

    @property
    def ca_directory(self) -> Path:
        """Directory of the CA for the front certificate, if one is used."""
        return _directory(
            self.tls.ca_directory, "XDG_DATA_HOME", ".local/share", f"ca/{self.domain}"
        )


def _directory(configured: str | None, variable: str, below_home: str, name: str) -> Path:
    if configured is not None:
        return Path(configured).expanduser()
    # The XDG specification has relative values ignored.
    base = os.environ.get(variable, "")
    return (Path(base) if base.startswith("/") else Path.home() / below_home) / "rps" / name
