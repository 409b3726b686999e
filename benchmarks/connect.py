"""From a laptop outside of the tests' cluster, by a real sshd, to a session that is ready: one on Comet's
operator's service, then one on the user's personal service, whose tunnel is open once the URL is printed.
`ssh HOST true` with the same key, and `rps connect HOST` until it prints the URL; 9 of each, interleaved,
medians, after one of each that does not count. The limit is that of issue 13: 1.5 s above the bare ssh.

The first byte of the notebook's answer, a new connection each: through the tunnel from the laptop, and
directly at the service's Unix socket on the login node; 60 of each, interleaved, medians. The limit: 10 ms
above the direct way. Network and processes share this machine: what is measured is ssh and the service, no
distance."""

from __future__ import annotations

import json
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.login import NODE, Login, logged_in
from benchmarks.processes import FailedError
from benchmarks.report import Row, at_most, beside
from tests.cluster import sshd
from tests.cluster.hosts import Host
from tests.cluster.lab import ALICE, Cluster
from tests.cluster.network import LAPTOP
from tests.cluster.sshd import Sshd

NEEDS = ("ssh", "sshd")
TIMES = 9
REQUESTS = 60
ABOVE_SSH = 1.5  # seconds
ABOVE_DIRECT = 0.010  # seconds
_PARTITION = "debug"  # the default one is down
_PERSONAL = ("--set", "proxy.own=true")


def measure(scratch: Path) -> list[Row]:
    """Measure a session of each service, one after the other."""
    with logged_in(scratch / "connect") as (alice, cluster):
        server = Sshd.start(cluster.hosts[NODE])
        sshd.let_in(ALICE, cluster.home, cluster.laptop_home, [server])
        local = alice.home / ".local" / "bin"
        alice.run("mkdir", "-p", f"{ALICE.home}/.local/bin")
        (local / "rps").symlink_to(alice.clone / "rps")
        laptop = cluster.hosts[LAPTOP]
        rows = []
        for what, options in (("the operator's service", ()), ("a personal service", _PERSONAL)):
            session = _ready(alice, options)
            rows += _until_the_url(laptop, alice, what)
            if session["tunnel"]:
                rows += _first_bytes(laptop, alice, cluster, session)
            alice.run(alice.rps, "stop", "--all")
    return rows


def _ready(alice: Login, options: Sequence[str]) -> dict[str, dict[str, str]]:
    command = (alice.rps, "start", "--wait", "--json", "-p", _PARTITION, *options)
    found: dict[str, dict[str, str]] = json.loads(alice.run(*command))
    return found


def _until_the_url(laptop: Host, alice: Login, what: str) -> list[Row]:
    bare, connected = [], []
    for _ in range(1 + TIMES):
        began = time.monotonic()
        done = laptop.run(["ssh", NODE, "true"], ALICE, capture_output=True)
        if done.returncode != 0:
            raise FailedError(done.stderr)
        bare.append(time.monotonic() - began)
        began = time.monotonic()
        with _connect(laptop, alice):
            connected.append(time.monotonic() - began)
    ssh, rps = statistics.median(bare[1:]), statistics.median(connected[1:])
    return [
        at_most(
            f"`rps connect` to a ready session of {what}, above `ssh HOST true`",
            rps - ssh,
            ABOVE_SSH,
            "s",
        ),
        beside("… `rps connect`, until the URL is printed", rps, "s"),
        beside("… `ssh HOST true`", ssh, "s"),
    ]


@contextmanager
def _connect(laptop: Host, alice: Login) -> Iterator[str]:
    """Run `rps connect` until it has printed the URL; interrupt it after the block."""
    command = [alice.rps, "connect", NODE, "--no-browser"]
    errors = laptop.directory / "connect.log"
    with errors.open("w") as log:
        process = laptop.popen(
            command, ALICE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
        assert process.stdout is not None
        with process.stdout as output:
            url = output.readline().strip()
            try:
                if not url:
                    raise FailedError(errors.read_text())
                yield url
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)


def _first_bytes(
    laptop: Host, alice: Login, cluster: Cluster, session: dict[str, dict[str, str]]
) -> list[Row]:
    path = cluster.hosts[NODE].directory / "var-tmp"
    path /= Path(session["tunnel"]["socket"]).relative_to("/var/tmp")
    tunnelled, direct = [], []
    with _connect(laptop, alice) as url:
        parts = urlsplit(url)
        request = f"GET /api/status?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        way = ("127.0.0.1", parts.port or 0)
        for _ in range(REQUESTS):
            direct.append(_first_byte(socket.AF_UNIX, str(path), request))
            tunnelled.append(
                laptop.in_its_network(lambda: _first_byte(socket.AF_INET, way, request))
            )
    through, beneath = statistics.median(tunnelled), statistics.median(direct)
    return [
        at_most(
            "first byte through the tunnel, above the direct way",
            through - beneath,
            ABOVE_DIRECT,
            "s",
        ),
        beside("… through the tunnel", through, "s"),
        beside("… at the Unix socket", beneath, "s"),
    ]


def _first_byte(
    family: socket.AddressFamily, address: str | tuple[str, int], request: bytes
) -> float:
    began = time.monotonic()
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(30)
        client.connect(address)
        client.sendall(request)
        if not client.recv(16).startswith(b"HTTP/1.1 200"):
            raise FailedError(f"no answer at {address}")
        return time.monotonic() - began
