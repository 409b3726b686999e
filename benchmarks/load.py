"""Programs under a load of requests, and what each of them took."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import wrk
from benchmarks.processes import ADDRESS, free_port, server, tree_cpu

CONNECTIONS = 32
SECONDS = 5
_NGINX = """daemon off;
{processes}
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    # Debian's nginx speaks TLS 1.3 only where it is configured; the engines do by default.
    ssl_protocols TLSv1.2 TLSv1.3;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {http}
}}
"""


@dataclass(slots=True)
class Way:
    """One proxy with one kind of upstream, and the figures of each round (`/1k`)."""

    name: str
    pid: int
    port: int
    host: str
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # milliseconds for a request

    def load(self, seconds: int, connections: int = CONNECTIONS) -> None:
        """One round."""
        before = tree_cpu(self.pid)
        total, rate = wrk.load(
            self.port, self.host, "/1k", connections=connections, seconds=seconds
        )
        self.rates.append(rate)
        self.cpu.append((tree_cpu(self.pid) - before) / total * 1e3)

    def forget(self) -> None:
        """Those rounds do not count."""
        self.rates.clear()
        self.cpu.clear()

    @property
    def rate(self) -> float:
        """Requests a second."""
        return statistics.median(self.rates)

    @property
    def cost(self) -> float:
        """CPU seconds for 1,000 requests."""
        return statistics.median(self.cpu)


def interleaved(ways: Sequence[Way], rounds: int) -> None:
    """Load each in turn, `rounds` times, after a second of warm-up each."""
    for way in ways:
        way.load(1)
        way.forget()
    for _ in range(rounds):
        for way in ways:
            way.load(SECONDS)


def one_kilobyte(directory: Path) -> Path:
    """Make a directory, `files` in this one, with the requested file; return it."""
    files = directory / "files"
    files.mkdir(parents=True)
    (files / "1k").write_bytes(b"x" * 1024)
    return files


def tls_server(port: int, pem: Path) -> str:
    """Return a `server` of nginx on loopback with this certificate and key."""
    return f" server {{ listen {ADDRESS}:{port} ssl; ssl_certificate {pem}; ssl_certificate_key {pem}; }}"


@contextmanager
def nginx(directory: Path, http: str, port: int, processes: str) -> Iterator[int]:
    """Run nginx with `http` in its http block, listening on `port`; yield its pid."""
    configuration = directory / "nginx.conf"
    configuration.write_text(_NGINX.format(directory=directory, http=http, processes=processes))
    command = ["nginx", "-e", "stderr", "-p", str(directory), "-c", str(configuration)]
    with server(command, port, directory / "nginx.log") as process:
        yield process.pid


@contextmanager
def one_kilobyte_upstream(directory: Path, pems: Mapping[str, Path]) -> Iterator[dict[str, int]]:
    """Run one nginx with that file; yield the ports by certificate ("": plain HTTP)."""
    ports = {"": free_port(), **{name: free_port() for name in pems}}
    http = f"root {one_kilobyte(directory)}; server {{ listen {ADDRESS}:{ports['']}; }}"
    for name, pem in pems.items():
        http += tls_server(ports[name], pem)
    with nginx(directory, http, ports[""], "master_process off;"):
        yield ports
