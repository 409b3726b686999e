"""Apache's configuration and commands."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.resources import files
from ipaddress import ip_address
from math import ceil
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from rps_proxy.engines import log_filter as engine_log
from rps_proxy.hostnames import MANAGEMENT
from rps_proxy.http.heads import LONGEST_HEAD, LONGEST_READ, REACHING_BEYOND
from rps_proxy.settings.model import Settings

if TYPE_CHECKING:
    from rps_proxy.pages.render import Pages

WANTED = "Apache 2.4.60 or newer"
# Files of the engine's directory.
_END = "----end of the page----"
CONFIG, SITE, ROUTES, PID = "apache.conf", "apache-site.conf", "routes.db", "run/apache.pid"
REDIRECTS = "apache-redirects.conf"
CERTIFICATE, UPSTREAM_CA = "front.pem", "upstream-ca.pem"
AWAY_LINE_FILE, BAD_REQUEST_FILE = "service-away.txt", "bad-request.txt"
AWAY_MAP_FILE = "service-away.var"
MODULES = (
    "authz_core",
    "dbd",
    "headers",
    "http2",
    "negotiation",
    "proxy",
    "proxy_http",
    "reqtimeout",
    "rewrite",
    "setenvif",
    "socache_shmcb",
    "ssl",
)
# Apache removes fields by their full names only; these are the ones in use.
_NOT_FROM_CLIENTS = (
    "Forwarded", "Keep-Alive", "Proxy", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
    "TE", "Trailer", "X-Client-IP", "X-Forwarded", "X-Forwarded-By", "X-Forwarded-Client-Cert",
    "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix",
    "X-Forwarded-Proto", "X-Forwarded-Protocol", "X-Forwarded-Scheme", "X-Forwarded-Server",
    "X-Forwarded-Ssl", "X-Forwarded-Uri", "X-Forwarded-User", "X-Real-IP", "X-Rps-Caller",
)  # fmt: skip


def render(settings: Settings, directory: Path) -> dict[str, str]:
    """Render Apache's configuration: a complete one, and the site to include."""
    from rps_proxy.pages.render import RESERVED, away_headers

    listen = settings.listen
    addresses = ["0.0.0.0", "[::]"] if listen.address == "::" else [bracketed(listen.address)]  # noqa: S104 - the operator asked for all
    places = [f"{address}:{listen.port}" for address in addresses]
    redirect_port = listen.redirect_port
    plain_places = [f"{each}:{redirect_port}" for each in addresses] if redirect_port else []
    strict = settings.strict_transport
    connect_timeout = f"{max(1, round(settings.advanced.connect_timeout * 1000))}ms"
    account = f"User {settings.apache.user}\nGroup {settings.apache.group}"
    values = {
        "account": account if settings.apache.group is not None else "",
        "addresses": " ".join(places),
        "bad_request": BAD_REQUEST_FILE,
        "certificate": directory / CERTIFICATE,
        "away_headers": "\n".join(
            f'        Header always set {name} "{value}"' for name, value in away_headers().items()
        ),
        "directory": directory,
        "domain": settings.domain,
        "domain_pattern": settings.domain.replace(".", r"\."),
        "longest_head": LONGEST_HEAD,
        "longest_read": LONGEST_READ,
        "upstream_limits": f"connectiontimeout={connect_timeout} timeout=86400 keepalive=on "
        f"responsefieldsize={LONGEST_READ}",
        "listens": "\n".join(f"Listen {place}" for place in (*places, *plain_places)),
        "redirects": _redirects(settings, plain_places),
        "load": "\n".join(
            f"LoadModule {name}_module {settings.apache.modules}/mod_{name}.so" for name in MODULES
        ),
        "hello_time": _whole_seconds(settings.advanced.hello_time),
        "head_time": _whole_seconds(settings.advanced.head_time),
        "stall_time": _whole_seconds(settings.clients.stall_time),
        "log_filter": shlex.join(engine_log.command()),
        "modules": settings.apache.modules,
        "public_port": listen.public_port or listen.port,
        "reaching_beyond": "\n".join(f"    Header unset {name}" for name in REACHING_BEYOND),
        "reserved": "|".join(path.replace(".", r"\.") for path in RESERVED),
        "routes": directory / ROUTES,
        "service_away": AWAY_MAP_FILE,
        "service_away_line": AWAY_LINE_FILE,
        "service_socket": directory / "service.sock",
        "site": directory / SITE,
        "strict_transport": ""
        if strict is None
        # "always" is a table of its own: a notebook's, and the service's, are taken out above.
        else f'Header always set Strict-Transport-Security "{strict}"',
        "unset": "\n".join(f"    RequestHeader unset {name}" for name in _NOT_FROM_CLIENTS),
        "upstream_ca": directory / UPSTREAM_CA,
    }
    return {name: Template(_packaged(name)).substitute(values) for name in (CONFIG, SITE)}


def _redirects(settings: Settings, places: Sequence[str]) -> str:
    """Return the virtual host that answers plain HTTP with redirects; empty without one."""
    if not places:
        return ""
    public = settings.listen.public_port or settings.listen.port
    return Template(_packaged(REDIRECTS)).substitute(
        addresses=" ".join(places),
        domain=settings.domain,
        domain_pattern=settings.domain.replace(".", r"\."),
        management=MANAGEMENT,
        url_port="" if public == 443 else f":{public}",
        head_time=_whole_seconds(settings.advanced.head_time),
        stall_time=_whole_seconds(settings.clients.stall_time),
    )


def away_map(pages: Pages) -> bytes:
    """Return the page for an unavailable service in all languages, in mod_negotiation's form.

    English is first, for clients that prefer no language.
    """
    from rps_core.node.agent.languages import ENGLISH

    found = []
    for tag in sorted(pages.catalogue.tags, key=lambda tag: (tag != ENGLISH, tag)):
        page = pages.away_page(pages.catalogue.language(tag)).rstrip()
        head = f"Content-Language: {tag}\nContent-Type: text/html; charset=utf-8\nBody:{_END}\n"
        found.append(head.encode() + page + f"\n{_END}\n\n".encode())
    return b"".join(found)


def _whole_seconds(seconds: float) -> int:
    return max(1, ceil(seconds))


def check_command(settings: Settings, directory: Path) -> list[str]:
    """Return the command that verifies Apache's configuration."""
    return [settings.apache.program, "-t", "-f", str(directory / CONFIG)]


def run_command(settings: Settings, directory: Path) -> list[str]:
    """Return the command that runs Apache in the foreground."""
    return [settings.apache.program, "-DFOREGROUND", "-f", str(directory / CONFIG)]


def bracketed(address: str) -> str:
    """Return an address in the form that a URL has."""
    return f"[{address}]" if ip_address(address).version == 6 else address


def _packaged(name: str) -> str:
    return (files("rps_proxy") / "engines" / "apache" / name).read_text(encoding="utf-8")
