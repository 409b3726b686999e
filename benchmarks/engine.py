"""Requests a second through the embedded engine and through configurable-http-proxy (CHP, from npm), and
the proxy's CPU for them: HTTPS, a body of 1 KB from the same nginx, wrk with 32 keep-alive connections,
5 rounds of 5 s each, interleaved, medians. The embedded engine always verifies its upstream over TLS, by
the session's name. CHP is measured with a plain HTTP upstream, as JupyterHub runs it unless told
otherwise, and with a verified TLS upstream, which is like with like. CHP has the one route `/`."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import chp, wrk
from benchmarks.processes import ADDRESS, free_port, server, tree_cpu
from benchmarks.report import Row, at_least, at_most
from benchmarks.service import service

NEEDS: tuple[str, ...] = ("nginx", "npm", "wrk")
CONNECTIONS = 32
ROUNDS = 5
SECONDS = 5
_NGINX = """daemon off;
master_process off;
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
    root {directory}/files;
    server {{ listen {address}:{plain}; }}
    server {{ listen {address}:{theirs} ssl; ssl_certificate {their_pem}; ssl_certificate_key {their_pem}; }}
    server {{ listen {address}:{ours} ssl; ssl_certificate {our_pem}; ssl_certificate_key {our_pem}; }}
}}
"""


@dataclass(slots=True)
class _Proxy:
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
    """Ours against both of CHP's."""
    with ExitStack() as stack:
        proxies = _proxies(stack, scratch)
        for proxy in proxies:  # connections and caches warm
            proxy.load(1)
            proxy.rates.clear()
            proxy.cpu.clear()
        for _ in range(ROUNDS):
            for proxy in proxies:
                proxy.load(SECONDS)
    ours, plain, verified = proxies
    rows = [
        at_least(f"requests, {ours.name}", ours.rate, other.rate, "/s", of=other.name)
        for other in (plain, verified)
    ]
    rows += [
        at_most(f"CPU for 1,000 requests, {ours.name}", ours.cost, other.cost, "s", of=other.name)
        for other in (plain, verified)
    ]
    return rows


def _proxies(stack: ExitStack, scratch: Path) -> tuple[_Proxy, _Proxy, _Proxy]:
    installed = chp.install(scratch)
    running = stack.enter_context(service(scratch / "engine"))
    session = running.issue()
    pem = session.certificate(scratch / "engine" / "session.pem")
    upstream = stack.enter_context(_nginx(scratch / "engine", pem, installed.pem))
    session.redeem(upstream.ours)
    plain = stack.enter_context(installed.proxy(f"http://{ADDRESS}:{upstream.plain}"))
    verified = stack.enter_context(installed.proxy(f"https://localhost:{upstream.theirs}"))
    name = f"CHP {installed.version}"
    return (
        _Proxy(
            "embedded, verified TLS upstream",
            running.pid,
            running.port,
            f"{session.host}:{running.port}",
        ),
        _Proxy(f"{name}, plain upstream", *plain, "localhost"),
        _Proxy(f"{name}, verified TLS upstream", *verified, "localhost"),
    )


@dataclass(frozen=True, slots=True)
class _Ports:
    plain: int
    theirs: int
    ours: int


@contextmanager
def _nginx(directory: Path, our_pem: Path, their_pem: Path) -> Iterator[_Ports]:
    """One nginx with the 1 KB file, plain and under both certificates."""
    files = directory / "files"
    files.mkdir()
    (files / "1k").write_bytes(b"x" * 1024)
    ports = _Ports(free_port(), free_port(), free_port())
    configuration = directory / "nginx.conf"
    configuration.write_text(
        _NGINX.format(
            directory=directory,
            address=ADDRESS,
            plain=ports.plain,
            theirs=ports.theirs,
            ours=ports.ours,
            our_pem=our_pem,
            their_pem=their_pem,
        )
    )
    log = directory / "nginx.log"
    command = ["nginx", "-e", "stderr", "-p", str(directory), "-c", str(configuration)]
    with server(command, ports.plain, log):
        yield ports
