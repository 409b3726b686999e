"""From the answer to *redeem* to the first 2xx through the public URL, over a new, verified TLS
connection to the engine and another from it to the upstream, while the given number of other routes is
live. The upstream is a small TLS server with the session's certificate. 15 sessions at each step, with each
engine."""

from __future__ import annotations

import ssl
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.processes import ADDRESS, FailedError
from benchmarks.report import Row, at_most
from benchmarks.service import Connection, Service, service

NEEDS: tuple[str, ...] = ("haproxy", "apache2")
ENGINES = ("embedded", "haproxy", "apache")
LIMIT = 0.1
ROUTES = (1, 100, 1_000, 5_000, 10_000)
TIMES = 15
PATIENCE = 10.0  # seconds


def measure(scratch: Path) -> list[Row]:
    """Median and worst for each engine and number of routes."""
    folder = scratch / "reachable"
    folder.mkdir()
    rows: list[Row] = []
    for engine in ENGINES:
        with service(folder / engine, engine) as running:
            rows += _with_each_number(running, folder, engine)
    return rows


def _with_each_number(running: Service, scratch: Path, engine: str) -> list[Row]:
    rows: list[Row] = []
    others = 0
    api = running.connection()
    for routes in ROUTES:
        running.more_routes(routes - 1 - others)
        others = routes - 1
        took = [_sample(running, api, scratch) for _ in range(TIMES)]
        what = f"redeemed to reachable, {engine}, {routes:,} route{'s' if routes > 1 else ''}"
        rows += [
            at_most(f"{what}, median", statistics.median(took), LIMIT, "s"),
            at_most(f"{what}, worst", max(took), LIMIT, "s"),
        ]
    return rows


def _sample(running: Service, api: Connection, scratch: Path) -> float:
    session = running.issue(api)
    with _upstream(session.certificate(scratch / "upstream.pem")) as port:
        session.redeem(port)
        redeemed = time.perf_counter()
        while not _answers(running.connection(session.host)):
            if time.perf_counter() - redeemed > PATIENCE:
                raise FailedError("a route that does not come alive")
        took = time.perf_counter() - redeemed
        session.revoke()
    return took


def _answers(connection: Connection) -> bool:
    connection.request("GET", "/")
    try:
        return 200 <= connection.getresponse().status < 300
    finally:
        connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # as notebook servers do; else 40 ms would be its own

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Nothing: the standard library would write each request to stderr."""


@contextmanager
def _upstream(pem: Path) -> Iterator[int]:
    """Run a TLS server with this certificate; yield its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with ThreadingHTTPServer((ADDRESS, 0), _Handler) as listening:
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield int(listening.server_address[1])
        finally:
            listening.shutdown()
            thread.join()
