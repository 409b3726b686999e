"""Requests a second through each engine and through nginx with one static route, and the CPU for them:
HTTPS, a body of 1 KB from the same nginx, wrk with 32 keep-alive connections, 3 rounds of 5 s each,
interleaved, medians; with one route, and with 10,000. The upstream speaks plain HTTP for all (for ours: a
session of the old dialect); beside it, TLS that is verified by the session's name.

Apache opens a connection for each request: with targets that change it takes none again (2.4.71 says
AH10400, "enablereuse/disablereuse ignored"), and over TLS that is a handshake each time."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import wrk
from benchmarks.processes import ADDRESS, free_port, server, tree_cpu
from benchmarks.report import Row, at_least, beside
from benchmarks.service import Service, localhost_certificate, service

NEEDS: tuple[str, ...] = ("nginx", "wrk", "haproxy", "apache2")
CONNECTIONS = 32
ROUNDS = 3
SECONDS = 5
MANY = 10_000
# Of nginx's requests a second; the embedded engine is measured against another proxy, in `engine`.
SHARES = {"embedded": None, "haproxy": 0.9, "apache": 0.25}
_NGINX = """daemon off;
worker_processes {workers};
{account}
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {http}
}}
"""


@dataclass(slots=True)
class _Way:
    """One proxy with one kind of upstream."""

    name: str
    pid: int
    port: int
    host: str
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # milliseconds for a request

    def load(self, seconds: int) -> None:
        before = tree_cpu(self.pid)
        total, rate = wrk.load(
            self.port, self.host, "/1k", connections=CONNECTIONS, seconds=seconds
        )
        self.rates.append(rate)
        self.cpu.append((tree_cpu(self.pid) - before) / total * 1e3)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def cost(self) -> float:
        """CPU seconds for 1,000 requests."""
        return statistics.median(self.cpu)


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
        upstream = stack.enter_context(_upstream(folder / "upstream", pems))
        nginx = stack.enter_context(_nginx(folder, upstream[""]))
        plain = {
            engine: _Way(
                engine, running.pid, running.port,
                f"{running.plain_route(upstream[''])}:{running.port}",
            )
            for engine, running in services.items()
        }  # fmt: skip
        verified = {}
        for engine, running in services.items():
            sessions[engine].redeem(upstream[engine])
            host = f"{sessions[engine].host}:{running.port}"
            verified[engine] = _Way(engine, running.pid, running.port, host)
        rows += _against_nginx(nginx, plain, verified, "1 route")
        for running in services.values():
            _more_routes(running, MANY - 2)
        rows += _against_nginx(nginx, plain, verified, f"{MANY:,} routes")
    return rows


def _against_nginx(
    nginx: _Way, plain: dict[str, _Way], verified: dict[str, _Way], routes: str
) -> list[Row]:
    ways = [nginx, *plain.values(), *verified.values()]
    for way in ways:  # connections and caches warm
        way.load(1)
        way.rates.clear()
        way.cpu.clear()
    for _ in range(ROUNDS):
        for way in ways:
            way.load(SECONDS)
    rows = [
        beside(f"requests, nginx, beside {routes}", nginx.rate, "/s"),
        beside(f"CPU for 1,000 requests, nginx, beside {routes}", nginx.cost, "s"),
    ]
    for engine, share in SHARES.items():
        what = f"requests, {engine}, {routes}"
        rate = plain[engine].rate
        if share is None:
            rows.append(beside(what, rate, "/s"))
        else:
            rows.append(at_least(what, rate, share * nginx.rate, "/s", of=f"{share} of nginx"))
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


def _more_routes(running: Service, count: int) -> None:
    api = running.connection()
    for _ in range(count):
        running.issue(api).redeem(9999)  # nobody asks these, so nothing need listen
    api.close()


@contextmanager
def _upstream(directory: Path, pems: dict[str, Path]) -> Iterator[dict[str, int]]:
    """One nginx with the 1 KB file: the ports of plain HTTP (""), and of each engine's certificate."""
    files = directory / "files"
    files.mkdir(parents=True)
    (files / "1k").write_bytes(b"x" * 1024)
    ports = {"": free_port(), **{engine: free_port() for engine in pems}}
    http = f"root {files}; server {{ listen {ADDRESS}:{ports['']}; }}"
    for engine, pem in pems.items():
        http += f"""
    server {{ listen {ADDRESS}:{ports[engine]} ssl; ssl_certificate {pem}; ssl_certificate_key {pem}; }}"""
    with _run_nginx(directory, http, ports[""], workers=1):
        yield ports


@contextmanager
def _nginx(scratch: Path, upstream: int) -> Iterator[_Way]:
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
    with _run_nginx(directory, http, port, workers=2) as pid:
        yield _Way("nginx", pid, port, "localhost")


@contextmanager
def _run_nginx(directory: Path, http: str, port: int, *, workers: int) -> Iterator[int]:
    configuration = directory / "nginx.conf"
    configuration.write_text(
        _NGINX.format(
            directory=directory,
            http=http,
            workers=workers,
            account="user root;" if directory.owner() == "root" else "",
        )
    )
    program = shutil.which("nginx") or "nginx"
    command = [program, "-e", "stderr", "-p", str(directory), "-c", str(configuration)]
    with server(command, port, directory / "nginx.log") as process:
        yield process.pid
