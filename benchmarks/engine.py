"""Requests a second through the embedded engine and HAProxy, and through configurable-http-proxy (CHP,
from npm), and the proxy's CPU for them: HTTPS, a body of 1 KB from the same nginx, wrk with 32 keep-alive
connections, 5 rounds of 5 s each, interleaved, medians. The embedded engine, in the service's process,
always verifies its upstream over TLS, by the session's name. CHP is measured with a plain HTTP upstream,
as JupyterHub runs it by default, and with a verified TLS upstream, as the embedded engine;
HAProxy with both. CHP has the one route `/`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from benchmarks import chp
from benchmarks.load import Way, interleaved, one_kilobyte_upstream
from benchmarks.processes import ADDRESS
from benchmarks.report import Row, at_least, at_most
from benchmarks.service import Service, Session, service

NEEDS: tuple[str, ...] = ("nginx", "npm", "wrk", "haproxy")
TIMES = 5  # of CHP's requests a second, for HAProxy
ROUNDS = 5


def measure(scratch: Path) -> list[Row]:
    """Ours against both of CHP's."""
    with ExitStack() as stack:
        proxies = _proxies(stack, scratch)
        interleaved(proxies, ROUNDS)
    ours, fast, fast_verified, plain, verified = proxies
    rows = [
        at_least(f"requests, {ours.name}", ours.rate, other.rate, "/s", of=other.name)
        for other in (plain, verified)
    ]
    rows += [
        at_least(
            f"requests, {mine.name}",
            mine.rate,
            TIMES * other.rate,
            "/s",
            of=f"{TIMES} x {other.name}",
        )
        for mine, other in ((fast, plain), (fast_verified, verified))
    ]
    rows += [
        at_most(f"CPU for 1,000 requests, {mine.name}", mine.cost, other.cost, "s", of=other.name)
        for mine, other in (
            (ours, plain),
            (ours, verified),
            (fast, plain),
            (fast_verified, verified),
        )
    ]
    return rows


def _proxies(stack: ExitStack, scratch: Path) -> tuple[Way, ...]:
    installed = chp.install(scratch)
    folder = scratch / "engine"
    folder.mkdir()
    services = {
        engine: stack.enter_context(service(folder / engine, engine))
        for engine in ("embedded", "haproxy")
    }
    sessions = {engine: running.issue() for engine, running in services.items()}
    pems = {
        engine: session.certificate(folder / f"{engine}.pem")
        for engine, session in sessions.items()
    }
    ports = stack.enter_context(one_kilobyte_upstream(folder, {**pems, "chp": installed.pem}))
    for engine, session in sessions.items():
        session.redeem(ports[engine])
    plain = stack.enter_context(installed.proxy(f"http://{ADDRESS}:{ports['']}"))
    verified = stack.enter_context(installed.proxy(f"https://localhost:{ports['chp']}"))
    name = f"CHP {installed.version}"
    fast = services["haproxy"]
    route = f"{fast.plain_route(ports[''])}:{fast.port}"
    return (
        _verified("embedded", services["embedded"], sessions["embedded"]),
        Way("haproxy, plain upstream", fast.pid, fast.port, route),
        _verified("haproxy", fast, sessions["haproxy"]),
        Way(f"{name}, plain upstream", *plain, "localhost"),
        Way(f"{name}, verified TLS upstream", *verified, "localhost"),
    )


def _verified(engine: str, running: Service, session: Session) -> Way:
    host = f"{session.host}:{running.port}"
    return Way(f"{engine}, verified TLS upstream", running.pid, running.port, host)
