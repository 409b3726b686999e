"""HAProxy's configuration, limits and commands."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from rps_core.config.origins import MOST_ORIGINS
from rps_proxy.engines.haproxy import answers
from rps_proxy.hostnames import MANAGEMENT
from rps_proxy.http.heads import LONGEST_HEAD, LONGEST_READ, REACHING_BEYOND
from rps_proxy.settings.model import Settings

WANTED = "HAProxy 2.6 or newer, built with Lua"
HEAP_KEPT = 4 * 2**20  # bytes at the end of a heap that are not given back to the kernel
# Variables of its environment.
LOG_DESCRIPTOR, MOST_CONNECTIONS = "RPS_LOG", "RPS_CONNECTIONS"
MANY_REQUESTS, MOST_REQUESTS = "RPS_MANY_REQUESTS", "RPS_MOST_REQUESTS"
REQUESTS_PER_ADDRESS = "RPS_REQUESTS"
UNCOUNTED_REQUESTS = 2000  # under way at once; further ones are counted by address
REQUESTS_PER_SECOND = 300  # of one address, for the service itself; a third of its queue
# HAProxy cannot distinguish a client that stalls within its body from a notebook that computes its answer.
STALLS_OF_AN_UPLOAD = 20
NO_LIMIT = 1_000_000  # more than a machine has ports and descriptors for
MOST_DESCRIPTORS = 200_000

# Files of the engine's directory.
CONFIG, SCRIPT = "haproxy.cfg", "haproxy.lua"
PAGE_BACKENDS = "haproxy-pages.cfg"  # of each language, in the configuration
REDIRECTS = "haproxy-redirects.cfg"
CONTROL, ROUTES = "run/haproxy.sock", "routes.map"
CERTIFICATE, UPSTREAM_CA = "front.pem", "upstream-ca.pem"


def render(settings: Settings, directory: Path) -> dict[str, str]:
    """Render HAProxy's configuration for the engine's directory: texts by file name."""
    from rps_proxy.pages.appearance import appearance
    from rps_proxy.pages.render import RESERVED

    languages = appearance(settings)[0].catalogue().tags
    listen = settings.listen
    port = listen.public_port or listen.port
    addresses = ["0.0.0.0", "::"] if listen.address == "::" else [listen.address]  # noqa: S104 - the operator asked for all
    binds = [
        f"    bind {_at(address, listen.port)} ssl crt {directory / CERTIFICATE} alpn h2,http/1.1"
        for address in addresses
    ]
    domain = r"'^(.*);[[:space:]]*[Dd][Oo][Mm][Aa][Ii][Nn][[:space:]]*(=[^;]*)?(;.*)?$' '\1\3'"
    strict = settings.strict_transport
    # The notebook's certificate must have the name of the session that was requested.
    notebook = (
        "server notebook 0.0.0.0:0 ssl verify required "
        f"ca-file {directory / UPSTREAM_CA} sni var(txn.host) alpn http/1.1"
    )
    text = Template(_packaged(CONFIG)).substitute(
        script=directory / SCRIPT,
        control=directory / CONTROL,
        reserved=" ".join(RESERVED),
        routes=directory / ROUTES,
        notebook=notebook,
        named_pages="\n".join(
            f"    acl named_page var(txn.route),field({4 + number},|),strcmp(txn.page) eq 0"
            for number in range(MOST_ORIGINS)
        ),
        not_answering_text=directory / answers.text_file(answers.NOT_ANSWERING),
        service_away_text=directory / answers.text_file(answers.SERVICE_AWAY),
        languages=";".join(languages),
        page_backends="\n".join(_page_backends(directory, tag, notebook) for tag in languages),
        plain_answers="\n".join(
            f"    errorfile {code} {directory / answers.file_of(code)}"
            for code in answers.PLAIN_TEXT
        ),
        foreign_pages="\n".join(_foreign_page(directory, tag) for tag in languages),
        foreign_page_text=directory / answers.text_file(answers.FOREIGN_PAGE),
        service_socket=directory / "service.sock",
        log_descriptor=LOG_DESCRIPTOR,
        most_requests=MOST_REQUESTS,
        many_requests=MANY_REQUESTS,
        requests_per_address=REQUESTS_PER_ADDRESS,
        uncounted=UNCOUNTED_REQUESTS,
        requests_per_second=REQUESTS_PER_SECOND
        if settings.clients.connections_per_address
        else NO_LIMIT,
        no_limit=NO_LIMIT,
        most_descriptors=MOST_DESCRIPTORS,
        most_connections=MOST_CONNECTIONS,
        connections_per_address=settings.clients.connections_per_address or NO_LIMIT,
        hello_time=_milliseconds(settings.advanced.hello_time),
        head_time=_milliseconds(settings.advanced.head_time),
        upload_time=_milliseconds(settings.clients.stall_time * STALLS_OF_AN_UPLOAD),
        stall_time=_milliseconds(settings.clients.stall_time),
        connect_timeout=_milliseconds(settings.advanced.connect_timeout),
        binds="\n".join(binds),
        redirects=_redirects(settings, addresses),
        public_port=port,
        url_port="" if port == 443 else f":{port}",
        without_domain=domain,
        longest_head=LONGEST_HEAD,
        longest_read=LONGEST_READ,
        reaching_beyond="\n".join(
            f"    http-response del-header {name}" for name in REACHING_BEYOND
        ),
        strict_transport=""
        if strict is None
        else f"http-after-response set-header Strict-Transport-Security {strict}",
    )
    return {CONFIG: text, SCRIPT: _packaged(SCRIPT)}


def _page_backends(directory: Path, tag: str, notebook: str) -> str:
    """Return the backends whose errors are pages in one language."""
    return Template(_packaged(PAGE_BACKENDS)).substitute(
        tag=tag,
        notebook=notebook,
        not_answering=directory / answers.html_file(answers.NOT_ANSWERING, tag),
        satellite_not_answering=directory / answers.html_file(answers.SATELLITE_NOT_ANSWERING, tag),
        service_away=directory / answers.html_file(answers.SERVICE_AWAY, tag),
        service_socket=directory / "service.sock",
    )


def _foreign_page(directory: Path, tag: str) -> str:
    """Return the rule that refuses a page of another origin in one language."""
    file = directory / answers.html_file(answers.FOREIGN_PAGE, tag)
    condition = f"judged foreign html {{ var(txn.language) -m str {tag} }}"
    return f"    http-request deny deny_status 403 errorfile {file} if {condition}"


def _redirects(settings: Settings, addresses: Sequence[str]) -> str:
    """Return the frontend that answers plain HTTP with redirects; empty without a port for it."""
    port = settings.listen.redirect_port
    if port is None:
        return ""
    public = settings.listen.public_port or settings.listen.port
    return Template(_packaged(REDIRECTS)).substitute(
        binds="\n".join(f"    bind {_at(address, port)}" for address in addresses),
        most_connections=MOST_CONNECTIONS,
        connections_per_address=settings.clients.connections_per_address or NO_LIMIT,
        domain=settings.domain,
        domain_pattern=settings.domain.replace(".", r"\."),
        management=MANAGEMENT,
        url_port="" if public == 443 else f":{public}",
    )


def _at(address: str, port: int) -> str:
    """Return an address to bind, with its options."""
    family = "ipv6@" if ":" in address else "ipv4@"
    return f"{family}{address}:{port}{' v6only' if address == '::' else ''}"


def check_command(settings: Settings, directory: Path) -> list[str]:
    """Return the command that verifies HAProxy's configuration."""
    return [settings.haproxy.program, "-c", "-f", str(directory / CONFIG)]


def run_command(settings: Settings, directory: Path) -> list[str]:
    """Return the command that runs HAProxy in the foreground.

    HAProxy frees the buffers that exceed half a megabyte a thread, four of these. glibc returns free memory
    above 128 KiB to the kernel and maps each larger piece, so that a request took three times the CPU time
    (mallopt(3): M_TRIM_THRESHOLD, M_MMAP_THRESHOLD).
    """
    descriptors = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], MOST_DESCRIPTORS)
    # HAProxy takes half of them for clients, of which one address gets a quarter at most. Of the other half
    # each backend gets two fifths; the control socket needs some, and connections that are being closed.
    per_address = settings.clients.connections_per_address or NO_LIMIT
    values = {
        "MALLOC_TRIM_THRESHOLD_": HEAP_KEPT,
        "MALLOC_MMAP_THRESHOLD_": HEAP_KEPT,
        MOST_CONNECTIONS: _share(per_address, descriptors // 8),
        REQUESTS_PER_ADDRESS: _share(per_address, descriptors // 20),
        MANY_REQUESTS: min(UNCOUNTED_REQUESTS, descriptors // 10),
        MOST_REQUESTS: descriptors // 5,
    }
    program = [settings.haproxy.program, "-db", "-f", str(directory / CONFIG)]
    return ["env", *(f"{name}={value}" for name, value in values.items()), *program]


def _share(configured: int, most: int) -> int:
    return configured if configured == NO_LIMIT else min(configured, most)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _packaged(name: str) -> str:
    return (files("rps_proxy") / "engines" / "haproxy" / name).read_text(encoding="utf-8")
