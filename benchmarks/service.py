"""A Reverse Proxy Service for one benchmark, and its client over verified TLS."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from benchmarks.processes import ADDRESS, FailedError, free_port, server
from rps_proxy.tls.authority import Authority

DOMAIN = "rps.localhost"
# Nothing renews in a benchmark, so that what is measured is measured alone.
_LEASE = ("lease.length=7200", "lease.renew_every=3600")
_LIMITS_OFF = (
    "limits.issues_per_minute=0",
    "limits.issues_per_minute_of_user=0",
    "limits.pending_per_source=0",
    "limits.pending_per_user=0",
)


_CLIENTS = 8  # that issue and redeem at once


class Connection(HTTPSConnection):
    """A keep-alive connection to a host, resolved to loopback."""

    def __init__(self, host: str, port: int, trust: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=60, context=trust)
        self._trust = trust

    def connect(self) -> None:
        """Connect to loopback, with the host's name in TLS."""
        plain = socket.create_connection((ADDRESS, self.port), self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._trust.wrap_socket(plain, server_hostname=self.host)

    def post(self, path: str, body: object = None, claim: str | None = None) -> dict[str, Any]:
        """One call of the API; its answer.

        Raises:
            FailedError: the service refused.
        """
        headers = {} if claim is None else {"Authorization": f"Bearer {claim}"}
        self.request("POST", path, json.dumps(body or {}).encode(), headers)
        response = self.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        if response.status >= 300:
            raise FailedError(f"{path}: {answer}")
        return answer


@dataclass(frozen=True, slots=True)
class Session:
    """A name that was issued, and the way to make it a route."""

    api: Connection
    name: str
    host: str
    claim: str

    def certificate(self, file: Path) -> Path:
        """Fetch this session's certificate and key into `file`."""
        answer = self._call("certificate")
        file.write_text(answer["key"] + answer["certificate"])
        return file

    def redeem(self, port: int) -> None:
        """Make the route to `port` of this machine live."""
        self._call("redeem", {"port": port, "job_id": "benchmark"})

    def revoke(self) -> None:
        """End the session."""
        self._call("revoke")

    def _call(self, call: str, body: object = None) -> dict[str, Any]:
        return self.api.post(f"/api/v1/sessions/{self.name}/{call}", body, self.claim)


@dataclass(frozen=True, slots=True)
class Service:
    """A running service. `trust` accepts its certificate, and no other."""

    pid: int
    port: int
    registry: Path
    trust: ssl.SSLContext

    def connection(self, host: str = f"manage.{DOMAIN}") -> Connection:
        """Return an unopened connection: to the API, or to a session's host."""
        return Connection(host, self.port, self.trust)

    def issue(self, api: Connection | None = None) -> Session:
        """Return a new session, over a connection of its own if none is given."""
        api = api or self.connection()
        answer = api.post("/api/v1/sessions", {"user": "benchmark"})
        return Session(api, answer["name"], answer["host"], answer["claim"])

    def more_routes(self, count: int) -> None:
        """Routes that no client asks for, so nothing need listen there."""

        def some(number: int) -> None:
            api = self.connection()
            for _ in range(number):
                self.issue(api).redeem(9999)
            api.close()

        parts = [count // _CLIENTS + (number < count % _CLIENTS) for number in range(_CLIENTS)]
        with ThreadPoolExecutor(_CLIENTS) as pool:
            list(pool.map(some, parts))

    def plain_route(self, port: int) -> str:
        """Return the host of a satellite session, whose notebook speaks plain HTTP on `port`."""
        api = self.connection()
        found = re.search(r"\b[a-z]+-[a-z]+-[a-z]+\b", _said(api, "/getlink.cgi"))
        if found is None:
            raise FailedError("no satellite name")
        said = _said(api, f"/redeemtoken.cgi?token={found[0]}&port={port}")
        if "Success" not in said:
            raise FailedError(said)
        return f"{found[0]}.{DOMAIN}"


def _said(api: Connection, path: str) -> str:
    api.request("GET", path)
    return api.getresponse().read().decode()


@contextmanager
def service(scratch: Path, engine: str = "embedded", workers: int = 1) -> Iterator[Service]:
    """Run `rps proxy serve` with its engine, without limits.

    It has a directory, a CA and a port of its own.
    """
    scratch.mkdir()
    directory, ca, port = scratch / "service", scratch / "ca", free_port()
    with ExitStack() as stack:
        settings = [
            f"directory={directory}", f"tls.ca_directory={ca}", f"listen.port={port}",
            f"domain={DOMAIN}", f"engine={engine}", f"workers={workers}", *_LEASE, *_LIMITS_OFF,
        ]  # fmt: skip
        if engine != "embedded":
            settings += _engine_settings(stack, scratch, engine)
        options = [word for setting in settings for word in ("--set", setting)]
        command = [sys.executable, "-P", "-m", "rps_core.cli.main", "proxy"]
        serve, run = [*command, "serve", *options], [*command, "engine", "run", *options]
        if engine == "embedded":
            process = stack.enter_context(server(serve, port, scratch / "service.log"))
        else:
            stack.enter_context(_beside(serve, scratch / "service.log"))
            process = stack.enter_context(server(run, port, scratch / "engine.log"))
            _in_step(scratch / "service.log")
        trust = ssl.create_default_context(cafile=ca / "ca.pem")
        yield Service(process.pid, port, directory / "registry.db", trust)


def _engine_settings(stack: ExitStack, scratch: Path, engine: str) -> list[str]:
    meeting, group = scratch / "engine", "null"
    if engine == "apache" and os.geteuid() == 0:
        # As root it becomes another account, which cannot enter our directory.
        meeting = Path(tempfile.mkdtemp(prefix="rps-apache-"))
        stack.callback(shutil.rmtree, meeting)
        group = "www-data"
    return [f"engine_directory={meeting}", f"{engine}.group={group}"]


@contextmanager
def _beside(command: list[str], log: Path) -> Iterator[None]:
    """Run the service of an engine: it listens on no port."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        _wait(log, "listening")
        yield
    finally:
        process.terminate()
        process.wait(20)


def _in_step(log: Path) -> None:
    _wait(log, "engine-in-step")


def _wait(log: Path, event: str) -> None:
    """Wait until the service has logged the event."""
    deadline = time.monotonic() + 30
    while event not in log.read_text():
        if time.monotonic() > deadline:
            raise FailedError(f"no {event}:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)


def localhost_certificate(scratch: Path) -> tuple[Path, Path]:
    """Return a certificate with its key for `localhost`, and the CA to trust."""
    authority = Authority(scratch / "localhost", "rps benchmarks", "localhost")
    leaf = authority.issue(["localhost"], 2)
    file = scratch / "localhost.pem"
    file.write_bytes(leaf.key + leaf.certificate)
    return file, authority.certificate_file
