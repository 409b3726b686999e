"""Requests a second through the embedded engine and through configurable-http-proxy (CHP, from npm), and
the proxy's CPU for them: HTTPS, a body of 1 KB from the same nginx, wrk with 32 keep-alive connections,
5 rounds of 5 s each, interleaved, medians. The embedded engine always verifies its upstream over TLS, by
the session's name. CHP is measured with a plain HTTP upstream, as JupyterHub runs it unless told
otherwise, and with a verified TLS upstream, which is like with like. CHP has the one route `/`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import chp
from benchmarks.load import Way, interleaved, nginx, one_kilobyte, tls_server
from benchmarks.processes import ADDRESS, free_port
from benchmarks.report import Row, at_least, at_most
from benchmarks.service import service

NEEDS: tuple[str, ...] = ("nginx", "npm", "wrk")
ROUNDS = 5


def measure(scratch: Path) -> list[Row]:
    """Ours against both of CHP's."""
    with ExitStack() as stack:
        proxies = _proxies(stack, scratch)
        interleaved(proxies, ROUNDS)
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


def _proxies(stack: ExitStack, scratch: Path) -> tuple[Way, Way, Way]:
    installed = chp.install(scratch)
    running = stack.enter_context(service(scratch / "engine"))
    session = running.issue()
    pem = session.certificate(scratch / "engine" / "session.pem")
    upstream = stack.enter_context(_upstream(scratch / "engine", pem, installed.pem))
    session.redeem(upstream.ours)
    plain = stack.enter_context(installed.proxy(f"http://{ADDRESS}:{upstream.plain}"))
    verified = stack.enter_context(installed.proxy(f"https://localhost:{upstream.theirs}"))
    name = f"CHP {installed.version}"
    return (
        Way(
            "embedded, verified TLS upstream",
            running.pid,
            running.port,
            f"{session.host}:{running.port}",
        ),
        Way(f"{name}, plain upstream", *plain, "localhost"),
        Way(f"{name}, verified TLS upstream", *verified, "localhost"),
    )


@dataclass(frozen=True, slots=True)
class _Ports:
    plain: int
    theirs: int
    ours: int


@contextmanager
def _upstream(directory: Path, our_pem: Path, their_pem: Path) -> Iterator[_Ports]:
    """One nginx with the 1 KB file, plain and under both certificates."""
    ports = _Ports(free_port(), free_port(), free_port())
    http = f"root {one_kilobyte(directory)}; server {{ listen {ADDRESS}:{ports.plain}; }}"
    for port, pem in ((ports.theirs, their_pem), (ports.ours, our_pem)):
        http += tls_server(port, pem)
    with nginx(directory, http, ports.plain, "master_process off;"):
        yield ports
