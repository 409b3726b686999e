"""Names issued a second by 8 clients at once, limits off, each answer durable (after an fsync, which
concurrent clients share). With keep-alive connections wrk makes the load; with a new connection for
each name a client of the benchmark does, since wrk resumes TLS sessions and a new launcher cannot.
Rounds of 5 s, interleaved, medians. At the end the service is killed (kill -9) under load, and the answered
names are looked up in its registry."""

from __future__ import annotations

import os
import signal
import sqlite3
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from benchmarks import wrk
from benchmarks.processes import FailedError, tree_cpu
from benchmarks.report import Row, at_least, at_most, beside
from benchmarks.service import DOMAIN, Service, service

NEEDS: tuple[str, ...] = ("wrk",)
LIMIT = 1_400
CLIENTS = 8
ROUNDS = 3
SECONDS = 5
_POST = """wrk.method = "POST"
wrk.body = '{"cluster": "benchmark", "scheduler": "local", "user": "benchmark"}'
wrk.headers["Content-Type"] = "application/json"
"""


@dataclass(slots=True)
class _Rounds:
    """Names a second, and the service's CPU seconds for a name, of each round."""

    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    def add(self, rate: float, cost: float) -> None:
        self.rates.append(rate)
        self.costs.append(cost)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def cost(self) -> float:
        """In milliseconds."""
        return statistics.median(self.costs) * 1e3


def measure(scratch: Path) -> list[Row]:
    """Names a second in both ways, and what a kill loses."""
    script = post_script(scratch)
    kept, fresh = _Rounds(), _Rounds()
    with service(scratch / "issuing") as running:
        for _ in range(ROUNDS):
            before = tree_cpu(running.pid)
            total, rate = kept_alive(running, script)
            between = tree_cpu(running.pid)
            names, took = _load(running, SECONDS, keep_alive=False)
            kept.add(rate, (between - before) / total)
            fresh.add(len(names) / took, (tree_cpu(running.pid) - between) / len(names))
    answered, lost = _killed(scratch)
    return [
        at_least("names, keep-alive", kept.rate, LIMIT, "/s"),
        beside("CPU of the service for a name, keep-alive", kept.cost, "ms"),
        beside("names, a new TLS connection each", fresh.rate, "/s"),
        beside("CPU of the service for a name, a new connection each", fresh.cost, "ms"),
        at_most(f"names lost by kill -9, of {answered:,} that were answered", lost, 0, ""),
    ]


def post_script(scratch: Path) -> Path:
    """Write the script by which wrk asks for names; return its path."""
    script = scratch / "post.lua"
    script.write_text(_POST)
    return script


def kept_alive(running: Service, script: Path) -> tuple[int, float]:
    """Names issued in `SECONDS` over connections that are kept, and names a second."""
    return wrk.load(
        running.port,
        f"manage.{DOMAIN}:{running.port}",
        "/api/v1/sessions",
        connections=CLIENTS,
        seconds=SECONDS,
        options=["-s", str(script)],
    )


def _killed(scratch: Path) -> tuple[int, int]:
    """Count the names answered before the kill, and those that the registry lacks."""
    with service(scratch / "killed") as running:

        def kill() -> None:
            os.kill(running.pid, signal.SIGKILL)

        names, _ = _load(running, 3, keep_alive=True, then=kill)
    with closing(sqlite3.connect(running.registry)) as db:
        held = {name for (name,) in db.execute("SELECT name FROM sessions")}
    if not names:
        raise FailedError("no name was answered before the kill")
    return len(names), len(set(names) - held)


def _load(
    running: Service,
    seconds: float,
    *,
    keep_alive: bool,
    then: Callable[[], None] | None = None,
) -> tuple[list[str], float]:
    """Return the names that the clients got, and the seconds that it took.

    `then` is called, in the middle of the load, when the time is up.
    """
    over = threading.Event()
    names: list[str] = []
    failures: list[Exception] = []

    def client() -> None:
        connection = running.connection()
        try:
            while not over.is_set():
                names.append(running.issue(connection).name)
                if not keep_alive:
                    connection.close()
        except (OSError, HTTPException) as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    if then is not None:
        then()
    over.set()
    for thread in threads:
        thread.join()
    if failures and then is None:
        raise FailedError("a client failed") from failures[0]
    return names, time.perf_counter() - begun
