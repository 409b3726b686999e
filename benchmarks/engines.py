"""Requests a second through each engine and through nginx with one static route, and the CPU for them:
HTTPS, a body of 1 KB from the same nginx, wrk with 32 keep-alive connections, 3 rounds of 5 s each,
interleaved, medians; with one route, and with 10,000. The upstream speaks plain HTTP for all (for ours: a
session of the old dialect); beside it, TLS that is verified by the session's name.

Apache opens a connection for each request, over TLS a handshake each time. Its pools belong to a host and
port that the configuration names. Where a substitution gives them, reuse is off for good: `enablereuse=on`
is answered by AH10400, and a `<Proxy>` is for one host and port, not for a pattern."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.load import CONNECTIONS, Way, interleaved, nginx, one_kilobyte_upstream
from benchmarks.processes import ADDRESS, free_port
from benchmarks.report import Row, at_least, beside
from benchmarks.service import localhost_certificate, service

NEEDS: tuple[str, ...] = ("nginx", "wrk", "haproxy", "apache2")
ROUNDS = 3
MANY = 10_000
# Of nginx's requests a second; the embedded engine is measured against another proxy, in `engine`.
SHARES = {"embedded": None, "haproxy": 0.9, "apache": 0.25}


def measure(scratch: Path) -> list[Row]:
    """Each engine against nginx."""
    rows: list[Row] = []
    folder = scratch / "engines"
    folder.mkdir()
    with ExitStack() as stack:
        services = {
            engine: stack.enter_context(service(folder / engine, engine)) for engine in SHARES
        }
        sessions = {engine: running.issue() for engine, running in services.items()}
        pems = {
            engine: session.certificate(folder / engine / "session.pem")
            for engine, session in sessions.items()
        }
        upstream = stack.enter_context(one_kilobyte_upstream(folder, pems))
        static = stack.enter_context(_static(folder, upstream[""]))
        plain = {
            engine: Way(
                engine, running.pid, running.port,
                f"{running.plain_route(upstream[''])}:{running.port}",
            )
            for engine, running in services.items()
        }  # fmt: skip
        verified = {}
        for engine, running in services.items():
            sessions[engine].redeem(upstream[engine])
            host = f"{sessions[engine].host}:{running.port}"
            verified[engine] = Way(engine, running.pid, running.port, host)
        rows += _against_nginx(static, plain, verified, "1 route")
        for running in services.values():
            running.more_routes(MANY - 2)
        rows += _against_nginx(static, plain, verified, f"{MANY:,} routes")
    return rows


def _against_nginx(
    static: Way, plain: dict[str, Way], verified: dict[str, Way], routes: str
) -> list[Row]:
    ways = [static, *plain.values(), *verified.values()]
    interleaved(ways, ROUNDS)
    rows = [
        beside(f"requests, nginx, beside {routes}", static.rate, "/s"),
        beside(f"CPU for 1,000 requests, nginx, beside {routes}", static.cost, "s"),
    ]
    for engine, share in SHARES.items():
        what = f"requests, {engine}, {routes}"
        rate = plain[engine].rate
        if share is None:
            rows.append(beside(what, rate, "/s"))
        else:
            rows.append(at_least(what, rate, share * static.rate, "/s", of=f"{share} of nginx"))
        rows += [
            beside(f"CPU for 1,000 requests, {engine}, {routes}", plain[engine].cost, "s"),
            beside(
                f"requests, {engine}, verified TLS upstream, {routes}",
                verified[engine].rate, "/s",
            ),
            beside(
                f"CPU for 1,000 requests, {engine}, verified TLS upstream, {routes}",
                verified[engine].cost, "s",
            ),
        ]  # fmt: skip
    return rows


@contextmanager
def _static(scratch: Path, upstream: int) -> Iterator[Way]:
    """nginx with one static route, its upstream connections kept."""
    pem, _ = localhost_certificate(scratch)
    directory, port = scratch / "nginx", free_port()
    directory.mkdir()
    http = f"""
    upstream notebook {{ server {ADDRESS}:{upstream}; keepalive {CONNECTIONS}; }}
    server {{
        listen {ADDRESS}:{port} ssl;
        ssl_certificate {pem};
        ssl_certificate_key {pem};
        location / {{
            proxy_pass http://notebook;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
        }}
    }}"""
    with nginx(directory, http, port, _processes(directory, 2)) as pid:
        yield Way("nginx", pid, port, "localhost")


def _processes(directory: Path, workers: int) -> str:
    """So many workers; as root they stay root, else they could not enter `directory`."""
    account = " user root;" if directory.owner() == "root" else ""
    return f"worker_processes {workers};{account}"
