"""Check the configuration's values beyond their types."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address, ip_interface, ip_network

from rps_core.config import contact
from rps_core.config.layers import Layer, Origin
from rps_core.config.mistakes import Mistakes
from rps_core.log import LEVELS
from rps_proxy.engine import ENGINES
from rps_proxy.settings.model import Settings

MOST_WORKERS = 1024
MOST_PAGE_TEXT = 1000  # characters
_HOST_NAME = re.compile(
    r"(?=.{1,200}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+"
)


def check(
    settings: Settings, layers: Sequence[Layer], origins: dict[str, Origin], mistakes: Mistakes
) -> None:
    """Check the values beyond their types."""

    def require(holds: bool, keys: str, rule: str) -> None:
        """Add a mistake unless the rule holds; it names a configured one of `keys`."""
        if not holds:
            ours = [key for key in keys.split() if origins[key].layer != layers[0].name]
            key = (ours or keys.split())[-1]
            mistakes.add(f"{origins[key].where}: `{key}` {rule}")

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
        listen.redirect_port is None or 1 <= listen.redirect_port <= 65535,
        "listen.redirect_port",
        "must be a port, 1 to 65535",
    )
    require(
        listen.redirect_port is None or listen.redirect_port != listen.port,
        "listen.redirect_port listen.port",
        "is given twice: `listen.redirect_port` is for plain HTTP, `listen.port` for HTTPS",
    )
    require(
        _HOST_NAME.fullmatch(settings.domain) is not None,
        "domain",
        "must be a domain of two labels or more, in lower case and without a dot at its end, "
        f"such as rps.example.org, and is {settings.domain!r}",
    )
    for key, rule, holds in contact.RULES:
        value = getattr(settings.support, key)
        require(value is None or holds(value), f"support.{key}", f"must be {rule}")
    for key, text in (("title", settings.pages.title), ("message", settings.pages.message)):
        require(
            text is None or (0 < len(text) <= MOST_PAGE_TEXT and text.isprintable()),
            f"pages.{key}",
            f"must be one printable line of at most {MOST_PAGE_TEXT} characters",
        )
    satellite = settings.satellite
    for key, listed in (
        ("networks.issue", networks.issue),
        ("networks.redeem", networks.redeem),
        ("networks.announce", networks.announce),
        ("networks.exclude", networks.exclude),
        ("satellite.networks", satellite.networks or ()),
        ("satellite.job_states_from", satellite.job_states_from),
        ("feed.networks", settings.feed.networks),
    ):
        for network in listed:
            require(
                _is_network(network),
                key,
                f"contains {network!r}, which is not a network{_meant(network)}",
            )
    require(settings.auth in ("none", "munge"), "auth", "must be none or munge")
    require(
        bool(settings.feed.networks) == (settings.feed.key_file is not None),
        "feed.networks feed.key_file",
        "is set alone: set both `feed.networks` and `feed.key_file`, or neither",
    )
    advanced = settings.advanced
    for key in ("waiting_pages", "waiting_pages_per_session"):
        require(getattr(advanced, key) >= 0, f"advanced.{key}", "must be 0 or more")
    for key in ("sweep_every", "connect_timeout", "hello_time", "head_time", "call_time"):
        require(getattr(advanced, key) > 0, f"advanced.{key}", "must be more than 0")
    require(
        advanced.audit_lines_per_minute >= 1,
        "advanced.audit_lines_per_minute",
        "must be 1 or more",
    )
    require(satellite.route_hours > 0, "satellite.route_hours", "must be more than 0")
    for key in (
        "issues_per_minute",
        "issues_per_minute_of_user",
        "pending_per_source",
        "pending_per_user",
    ):
        require(getattr(settings.limits, key) >= 0, f"limits.{key}", "must be 0 or more")
    for key in ("pending", "lapsed", "ended"):
        require(getattr(settings.keep, key) > 0, f"keep.{key}", "must be more than 0")
    clients = settings.clients
    require(
        clients.connections_per_address >= 0,
        "clients.connections_per_address",
        "must be 0 or more",
    )
    require(clients.stall_time > 0, "clients.stall_time", "must be more than 0")
    require(settings.idle_exit >= 0, "idle_exit", "must be 0 or more")
    require(tls.hsts >= 0, "tls.hsts", "must be 0 or more")
    require(
        (tls.certificate is None) == (tls.key is None),
        "tls.certificate tls.key",
        "is set alone: set both `tls.certificate` and `tls.key`, or neither",
    )
    for key in ("length", "renew_every"):
        require(getattr(lease, key) > 0, f"lease.{key}", "must be more than 0")
    require(
        lease.length >= 2 * lease.renew_every,
        "lease.length lease.renew_every",
        "is out of range: `lease.length` must be at least twice `lease.renew_every`, "
        "so that one lost renewal ends no session",
    )
    require(websocket.ping_every > 0, "websocket.ping_every", "must be more than 0")
    require(
        advanced.websocket_dead_after >= 2 * websocket.ping_every,
        "advanced.websocket_dead_after websocket.ping_every",
        "is out of range: `advanced.websocket_dead_after` must be at least twice `websocket.ping_every`",
    )
    require(
        settings.log.level in LEVELS,
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
        # An address with a zone is in no DNS, and no engine accepts it.
        return "%" not in text and bool(ip_address(text))
    except ValueError:
        return False


def _meant(text: str) -> str:
    """Suggest the network of an address that was given in its place."""
    try:
        return f": is {ip_interface(text).network} meant?"
    except ValueError:
        return ""


def _is_number(text: str, most: int) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= most
