"""Requests a second through each engine and through nginx with one static route, and the CPU for them:
HTTPS, a body of 1 KB from the same nginx, wrk with 32 keep-alive connections, 3 rounds of 5 s each,
interleaved, medians; with one route, and with 10,000. The upstream speaks plain HTTP for all (for ours: a
satellite session); and in further rows verified TLS, by the session's name.

Apache opens a connection for each request, over TLS a handshake each time. Its pools belong to a host and
port that the configuration names. If a substitution gives them, Apache disables reuse: it reports
`enablereuse=on` as AH10400, and a `<Proxy>` is for one host and port, not for a pattern. Further rows are
Apache's lower bound, with one `ProxyPass` in place of the rules and look-ups, its connections kept, and not
kept; and nginx without kept connections."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.load import CONNECTIONS, Way, interleaved, nginx, one_kilobyte_upstream
from benchmarks.processes import ADDRESS, free_port, server
from benchmarks.report import Row, at_least, beside
from benchmarks.service import localhost_certificate, service
from rps_proxy.engines.apache import configuration as apache
from rps_proxy.settings.loading import load

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
        pem, _ = localhost_certificate(folder)
        static, *least = [
            stack.enter_context(proxy(folder / f"static-{number}", pem, upstream[""], kept=kept))
            for number, (proxy, kept) in enumerate(
                [(_nginx, True), (_nginx, False), (_apache, True), (_apache, False)]
            )
        ]
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
        rows += _against_nginx(static, plain, verified, "1 route", least)
        for running in services.values():
            running.more_routes(MANY - 2)
        rows += _against_nginx(static, plain, verified, f"{MANY:,} routes")
    return rows


def _against_nginx(
    static: Way,
    plain: dict[str, Way],
    verified: dict[str, Way],
    routes: str,
    least: Sequence[Way] = (),
) -> list[Row]:
    ways = [static, *least, *plain.values(), *verified.values()]
    interleaved(ways, ROUNDS)
    rows = [
        beside(f"requests, nginx, beside {routes}", static.rate, "/s"),
        beside(f"CPU for 1,000 requests, nginx, beside {routes}", static.cost, "s"),
    ]
    for way in least:
        rows += [
            beside(f"requests, {way.name}", way.rate, "/s"),
            beside(f"CPU for 1,000 requests, {way.name}", way.cost, "s"),
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
def _nginx(directory: Path, pem: Path, upstream: int, *, kept: bool) -> Iterator[Way]:
    """nginx with one static route, its upstream connections kept or not."""
    directory.mkdir()
    port = free_port()
    keep = f"keepalive {CONNECTIONS};" if kept else ""
    http = f"""
    upstream notebook {{ server {ADDRESS}:{upstream}; {keep} }}
    server {{
        listen {ADDRESS}:{port} ssl;
        ssl_certificate {pem};
        ssl_certificate_key {pem};
        location / {{
            proxy_pass http://notebook;
            proxy_http_version 1.1;
            proxy_set_header Connection "{"" if kept else "close"}";
            proxy_set_header Host $host;
        }}
    }}"""
    with nginx(directory, http, port, _processes(directory, 2)) as pid:
        yield Way(f"nginx, {_how(kept)}", pid, port, "localhost")


@contextmanager
def _apache(directory: Path, pem: Path, upstream: int, *, kept: bool) -> Iterator[Way]:
    """Run Apache with rps's processes and modules, and one static route as its rules."""
    (directory / "run").mkdir(parents=True)
    port = free_port()
    group = "www-data" if os.geteuid() == 0 else "null"
    settings = load(
        None, [f"listen.port={port}", f"listen.address={ADDRESS}", f"apache.group={group}"]
    )
    text = apache.render(settings, directory)[apache.CONFIG]
    (directory / apache.CONFIG).write_text(text)
    (directory / apache.SITE).write_text(f"""
    <VirtualHost {ADDRESS}:{port}>
        MaxKeepAliveRequests 0
        SSLEngine On
        SSLCertificateFile {pem}
        SSLProtocol -all +TLSv1.2 +TLSv1.3
        ProxyPreserveHost On
        ProxyPass / http://{ADDRESS}:{upstream}/ {"" if kept else "disablereuse=on"}
    </VirtualHost>""")
    with server(apache.run_command(settings, directory), port, directory / "apache.log") as process:
        yield Way(f"Apache, {_how(kept)}", process.pid, port, "localhost")


def _how(kept: bool) -> str:
    return "one static route, " + ("connections kept" if kept else "a connection each")


def _processes(directory: Path, workers: int) -> str:
    """So many workers; as root they stay root, else they could not enter `directory`."""
    account = " user root;" if directory.owner() == "root" else ""
    return f"worker_processes {workers};{account}"
