"""The embedded engine in the service's process and in two workers: requests a second, and the CPU for
them, as under `engine` but with 64 connections; names issued a second, as under `issuing` with keep-alive
connections, which reach the service through the workers. Interleaved, medians.

Load, upstream and workers share this machine's cores, so requests a second do not show the gain of a further
core. The CPU for a request does: if it is the same in one process and in two, and each of the two does half
of the work, the load grows with the number of cores. Memory is a worker's own and its share of shared pages
(PSS), with one route."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from pathlib import Path

from benchmarks.issuing import LIMIT, SECONDS, kept_alive, post_script
from benchmarks.load import Way, nginx, one_kilobyte, tls_server
from benchmarks.processes import ADDRESS, children, free_port, proportional_memory, tree_cpu
from benchmarks.report import Row, at_least, at_most, beside
from benchmarks.service import Service, service

NEEDS: tuple[str, ...] = ("nginx", "wrk")
ROUNDS = 5
CONNECTIONS = 64  # spread by chance: of 32 one worker may well get 20
COUNTS = (1, 2)


def measure(scratch: Path) -> list[Row]:
    """One process against two."""
    folder = scratch / "workers"
    folder.mkdir()
    script = post_script(folder)
    with ExitStack() as stack:
        services = [
            stack.enter_context(service(folder / str(count), workers=count)) for count in COUNTS
        ]
        ways = _ways(stack, folder, services)
        names: list[list[float]] = [[] for _ in services]
        shares: list[float] = []
        for round_ in range(-1, ROUNDS):  # the first one warms up
            for way, running, issued in zip(ways, services, names, strict=True):
                workers = children(running.pid)
                before = [tree_cpu(pid) for pid in workers]
                way.load(SECONDS, CONNECTIONS)
                used = [tree_cpu(pid) - was for pid, was in zip(workers, before, strict=True)]
                _, rate = kept_alive(running, script)
                if round_ >= 0:
                    issued.append(rate)
                    shares += [max(used) / sum(used) * len(used)] if used else []
                else:
                    way.forget()
        memory = statistics.mean(map(proportional_memory, children(services[1].pid)))
    one, two = ways
    return [
        beside(f"requests, {one.name}", one.rate, "/s"),
        beside(f"requests, {two.name}", two.rate, "/s"),
        beside(f"CPU for 1,000 requests, {one.name}", one.cost, "s"),
        at_most(
            f"CPU for 1,000 requests, {two.name}", two.cost, one.cost * 1.2, "s",
            of=f"1.2 of that {one.name}",
        ),
        at_most("CPU of the busier worker, of the mean", statistics.median(shares), 1.25, ""),
        beside(f"names, {one.name}", statistics.median(names[0]), "/s"),
        at_least(f"names, {two.name}", statistics.median(names[1]), LIMIT, "/s"),
        beside("memory of a worker", memory, "MB"),
    ]  # fmt: skip


def _ways(stack: ExitStack, folder: Path, services: list[Service]) -> tuple[Way, Way]:
    upstream = folder / "upstream"
    upstream.mkdir()
    plain = free_port()
    http = f"root {one_kilobyte(upstream)}; server {{ listen {ADDRESS}:{plain}; }}"
    sessions = []
    for count, running in zip(COUNTS, services, strict=True):
        session, port = running.issue(), free_port()
        http += tls_server(port, session.certificate(folder / str(count) / "session.pem"))
        sessions.append((session, port))
    stack.enter_context(nginx(upstream, http, plain, "master_process off;"))
    ways = []
    for name, running, (session, port) in zip(
        ("in the service's process", "2 workers"), services, sessions, strict=True
    ):
        session.redeem(port)
        ways.append(Way(name, running.pid, running.port, f"{session.host}:{running.port}"))
    return ways[0], ways[1]
