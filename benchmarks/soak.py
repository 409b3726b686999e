"""10,000 routes and 2,000 open websockets through an engine, 100 to each of 20 notebooks, each sending 64
bytes once a second and receiving their echo, for 5 minutes; HAProxy and the embedded engine (in the service's
process) at the same time, each with its own clients and echo servers, TLS on both sides. Memory is
the engine's (VmRSS): with its routes, with all websockets open, and at the end. An error is a websocket
that could not be opened, ended early, or echoed other bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import FailedError, free_port, memory, server, tree_cpu
from benchmarks.report import Row, beside, exactly
from benchmarks.service import service

NEEDS: tuple[str, ...] = ("haproxy",)
ENGINES = ("haproxy", "embedded")
ROUTES = 10_000
NOTEBOOKS = 20
WEBSOCKETS = 100  # to each
SECONDS = 300


@dataclass(frozen=True, slots=True)
class _Held:
    """The figures of one engine: memory in MB, CPU in seconds."""

    figures: dict[str, Any]
    routes: float
    opened: float
    end: float
    cpu: float


def measure(scratch: Path) -> list[Row]:
    """Return the rows of each engine."""
    folder = scratch / "soak"
    folder.mkdir()
    with ThreadPoolExecutor(len(ENGINES)) as pool:
        held = list(pool.map(lambda engine: _hold(folder / engine, engine), ENGINES))
    rows: list[Row] = []
    for engine, each in zip(ENGINES, held, strict=True):
        rows += [
            exactly(f"errors, {engine}", each.figures["errors"], 0, ""),
            beside(f"messages echoed, {engine}", each.figures["messages"], ""),
            beside(f"round trip, {engine}, p50", each.figures["p50"] * 1e3, "ms"),
            beside(f"round trip, {engine}, p99", each.figures["p99"] * 1e3, "ms"),
            beside(f"round trip, {engine}, worst", each.figures["worst"] * 1e3, "ms"),
            beside(f"memory, {engine}, {ROUTES:,} routes", each.routes, "MB"),
            beside(f"memory, {engine}, all websockets open", each.opened, "MB"),
            beside(f"memory, {engine}, at the end", each.end, "MB"),
            beside(
                f"CPU for 1,000 messages, {engine}", each.cpu / each.figures["messages"] * 1e3, "s"
            ),
        ]
    return rows


def _hold(scratch: Path, engine: str) -> _Held:
    with ExitStack() as stack:
        running = stack.enter_context(service(scratch, engine))
        running.more_routes(ROUTES - NOTEBOOKS)
        sessions = [running.issue() for _ in range(NOTEBOOKS)]
        ports = [free_port() for _ in sessions]
        pems = [session.certificate(scratch / f"{session.name}.pem") for session in sessions]
        command = [sys.executable, "-P", "-m", "benchmarks.upstream"]
        command += [f"{port}:{pem}" for port, pem in zip(ports, pems, strict=True)]
        stack.enter_context(server(command, ports[-1], scratch / "upstream.log"))
        for session, port in zip(sessions, ports, strict=True):
            session.redeem(port)
        routes = memory(running.pid, "VmRSS")
        urls = [f"wss://{session.host}:{running.port}/echo" for session in sessions]
        command = [sys.executable, "-P", "-m", "benchmarks.talkers", str(SECONDS), str(WEBSOCKETS)]
        command += [str(scratch / "ca" / "ca.pem"), *urls]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as talkers:
            assert talkers.stdout is not None
            try:
                if talkers.stdout.readline() != "talking\n":
                    raise FailedError("the websockets do not open")
                opened, before = memory(running.pid, "VmRSS"), tree_cpu(running.pid)
                said = talkers.stdout.readline()
            finally:
                end, after = memory(running.pid, "VmRSS"), tree_cpu(running.pid)
                talkers.terminate()
        return _Held(json.loads(said), routes, opened, end, after - before)
