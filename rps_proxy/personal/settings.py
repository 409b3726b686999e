"""The settings of a personal service: the user's proxy.yaml and fixed values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from rps_core.config import layers as config
from rps_core.config.layers import Layer
from rps_core.config.mistakes import Mistakes
from rps_core.system import paths
from rps_proxy.personal.running import ADDRESS, DOMAIN, KEY_FILE
from rps_proxy.settings.loading import merged, packaged_defaults
from rps_proxy.settings.model import Settings

IDLE_EXIT = 900.0  # seconds; see `idle_exit` in proxy.yaml
# A renewal that comes as a file may lag by the caches of two NFS clients: `acdirmax`, 60 seconds by default
# (nfs(5)), each.
LEASE_ON_CLUSTER = 180.0  # seconds
_THIS_MACHINE = ["127.0.0.0/8"]
_ANYWHERE = ["0.0.0.0/0", "::/0"]


def load(
    directory: Path, address: str = ADDRESS, *, on_cluster: bool = False, idle: float | None = None
) -> Settings:
    """Read the user's proxy.yaml; the service's files are in `directory`, it listens on `address`.

    On a cluster any host may call, with the issue key or a claim. A route leads to the caller, and the
    notebook there must have the session's certificate. `idle` is the longest time without sessions, in
    seconds.

    Its address, domain, directory, key and CA are fixed, whatever that file says.

    Raises:
        ConfigurationError: as for `settings.load`.
    """
    # The address alone is a network whose notebooks may be on this host: a cluster can have one host.
    callers = [*_ANYWHERE, address, *_THIS_MACHINE] if on_cluster else _THIS_MACHINE
    fixed = {
        "directory": str(directory),
        "domain": DOMAIN,
        "engine": "embedded",
        "workers": "1",
        "auth": "none",
        "satellite": {"calls": False},  # whose names any user of the machine could redeem
        "listen": {"address": address, "public_port": None},
        "networks": {
            "issue": callers,
            # Every user of the machine has that address.
            "issue_key_file": str(directory / KEY_FILE),
            "redeem": callers,
        },
        "tls": {"certificate": None, "key": None},
        "feed": {"networks": [], "key_file": None},
        "admin": {"socket": None},
    }
    ours: dict[str, Any] = {"idle_exit": IDLE_EXIT}
    if on_cluster:
        ours["lease"] = {"length": LEASE_ON_CLUSTER}
    layers = [packaged_defaults(), Layer("local", "rps", ours)]
    mistakes = Mistakes()
    with mistakes.collected():
        file = paths.config_file().with_name("proxy.yaml")
        layer = config.file_layer(config.USER, file, mistakes)
        if layer is not None:
            layers.append(layer)
    settings = merged([*layers, Layer("local", "rps", fixed)], mistakes)
    if idle is not None:
        settings = replace(settings, idle_exit=min(settings.idle_exit or idle, idle))
    return settings
