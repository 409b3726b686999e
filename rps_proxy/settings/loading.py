"""Read and merge the layers: packaged < /etc/rps/proxy.yaml or --config < options."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from rps_core.config import layers as config
from rps_core.config.layers import Layer
from rps_core.config.mistakes import Mistakes
from rps_core.system import paths
from rps_proxy.settings.checks import check
from rps_proxy.settings.model import Settings

SYSTEM_FILE = Path("/etc/rps/proxy.yaml")
# Keys of earlier versions, and what to do about each.
REMOVED = {
    "tls.days": "A certificate of the service's own CA is valid for 60 days. Remove the key.",
    "keep.most_ended": "The service keeps 100,000 records of ended sessions. Remove the key.",
    **{
        old: f"It is `advanced.{new}` now. Remove the key, or rename it if you need another value."
        for old, new in (
            ("audit.most_per_minute", "audit_lines_per_minute"),
            ("clients.call_time", "call_time"),
            ("clients.head_time", "head_time"),
            ("clients.hello_time", "hello_time"),
            ("lease.sweep_every", "sweep_every"),
            ("pages.most_waiting", "waiting_pages"),
            ("pages.most_waiting_of_one", "waiting_pages_per_session"),
            ("upstream.connect_timeout", "connect_timeout"),
            ("websocket.dead_after", "websocket_dead_after"),
        )
    },
    **{
        f"compat.{old}": f"It is `satellite.{new}` now. Rename the key."
        for old, new in (
            ("cgi", "calls"),
            ("networks", "networks"),
            ("job_states_from", "job_states_from"),
            ("route_hours", "route_hours"),
        )
    },
}


def personal_file() -> Path | None:
    """Return the user's proxy.yaml; None: there is none, or this host has the service's own configuration."""
    file = paths.config_file().with_name("proxy.yaml")
    return file if file.is_file() and not SYSTEM_FILE.is_file() else None


def load(config_file: Path | None = None, assignments: Sequence[str] = ()) -> Settings:
    """Read, merge and check all layers. `assignments` are `key=value` options.

    Raises:
        ConfigurationError: unknown keys, values of the wrong type or out of their range; names all of them,
            each with file and line.
    """
    mistakes = Mistakes()
    layers = [packaged_defaults()]
    with mistakes.collected():
        layer = config.file_layer("system", config_file or SYSTEM_FILE, mistakes)
        if layer is not None:
            layers.append(layer)
        elif config_file is not None:
            mistakes.add(f"{config_file}: no such file", "Check the path after --config.")
    layers.append(config.option_layer(assignments, mistakes))
    return merged(layers, mistakes)


def packaged_defaults() -> Layer:
    """Return the lowest layer: every key with its default."""
    return config.packaged_layer("defaults", files("rps_conf") / "proxy.yaml")


def merged(layers: Sequence[Layer], mistakes: Mistakes) -> Settings:
    """Merge the layers, the lowest first, and check the result.

    Raises:
        ConfigurationError: see `load`.
    """
    from rps_core.config.merge import merge

    settings, origins = merge(Settings, layers, removed=REMOVED, mistakes=mistakes)
    check(settings, layers, origins, mistakes)
    mistakes.check()
    return settings
