"""A Reverse Proxy Service for one benchmark, and a client that reaches it over verified TLS."""

from __future__ import annotations

import json
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from benchmarks.processes import ADDRESS, FailedError, free_port, server
from rps_proxy.authority import Authority

DOMAIN = "rps.localhost"
# Nothing renews in a benchmark, so that what is measured is measured alone.
_LEASE = ("lease.length=7200", "lease.renew_every=3600")
_LIMITS_OFF = (
    "limits.issues_per_minute=0",
    "limits.pending_per_source=0",
    "limits.pending_per_user=0",
)


class Connection(HTTPSConnection):
    """A keep-alive connection to a host on loopback, whatever resolvers say of `*.localhost`."""

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
        """A connection to be opened: to the API, or to a session's host."""
        return Connection(host, self.port, self.trust)

    def issue(self, api: Connection | None = None) -> Session:
        """A new session, over a connection of its own if none is given."""
        api = api or self.connection()
        answer = api.post("/api/v1/sessions", {"user": "benchmark"})
        return Session(api, answer["name"], answer["host"], answer["claim"])


@contextmanager
def service(scratch: Path) -> Iterator[Service]:
    """`rps proxy serve` with a directory, a CA and a port of its own, its limits off."""
    scratch.mkdir()
    directory, ca, port = scratch / "service", scratch / "ca", free_port()
    settings = (
        f"directory={directory}", f"tls.ca_directory={ca}", f"listen.port={port}",
        f"domain={DOMAIN}", "engine=embedded", *_LEASE, *_LIMITS_OFF,
    )  # fmt: skip
    command = [sys.executable, "-P", "-m", "rps_core.cli", "proxy", "serve"]
    command += [word for setting in settings for word in ("--set", setting)]
    with server(command, port, scratch / "service.log") as process:
        trust = ssl.create_default_context(cafile=ca / "ca.pem")
        yield Service(process.pid, port, directory / "registry.db", trust)


def localhost_certificate(scratch: Path) -> tuple[Path, Path]:
    """For what is not ours to name: a certificate with its key for `localhost`, and the CA to trust."""
    authority = Authority(scratch / "localhost", "rps benchmarks", "localhost")
    leaf = authority.issue(["localhost"], 2)
    file = scratch / "localhost.pem"
    file.write_bytes(leaf.key + leaf.certificate)
    return file, authority.certificate_file
