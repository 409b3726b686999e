"""An upload and a download of 20 MB by curl over a round trip of 100 ms (a relay on loopback that delays
all bytes, `benchmarks/delay.py`), through each engine and by each of its versions of HTTP, with a new
connection each; medians of 3, interleaved. Over HTTP/2 a client sends no more than the server's window until
an update of it arrives, and a server no more than the client's (curl 10 MB, Chromium 6 MB)."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from benchmarks.processes import ADDRESS, FailedError, free_port, server
from benchmarks.report import Row, at_most, beside
from benchmarks.service import Service, service

NEEDS: tuple[str, ...] = ("curl", "haproxy", "apache2")
SIZE = 20_000_000
ROUND_TRIP = 100  # milliseconds
ROUNDS = 3
VERSIONS = {"embedded": ("1.1",), "haproxy": ("1.1", "2"), "apache": ("1.1", "2")}
TIMES = {
    "haproxy": 4,
    "apache": 12,
}  # of HTTP/1.1 through the same engine, for an upload over HTTP/2


def measure(scratch: Path) -> list[Row]:
    """Seconds for each engine, version and direction."""
    folder = scratch / "distance"
    folder.mkdir()
    file = folder / "upload"
    file.write_bytes(bytes(SIZE))
    took = defaultdict[tuple[str, str, str], list[float]](list)
    with ExitStack() as stack:
        hosts = {engine: _stand(stack, folder, engine) for engine in VERSIONS}
        for _ in range(ROUNDS):
            for engine, versions in VERSIONS.items():
                for version in versions:
                    for direction in ("upload", "download"):
                        seconds = _transfer(*hosts[engine], version, direction, file)
                        took[engine, version, direction].append(seconds)
    medians = {way: statistics.median(values) for way, values in took.items()}
    rows = []
    for (engine, version, direction), value in medians.items():
        what = f"{direction} of 20 MB over 100 ms, {engine}, HTTP/{version}"
        if version == "2" and direction == "upload":
            limit = TIMES[engine] * medians[engine, "1.1", direction]
            of = f"{TIMES[engine]} x HTTP/1.1"
            rows.append(at_most(what, value, limit, "s", of=of))
        else:
            rows.append(beside(what, value, "s"))
    return rows


def _stand(stack: ExitStack, folder: Path, engine: str) -> tuple[Service, int, str, Path]:
    """Run an engine with a notebook behind a relay; yield port, host and CA."""
    running = stack.enter_context(service(folder / engine, engine))
    session = running.issue()
    pem = session.certificate(folder / engine / "session.pem")
    port, relay = free_port(), free_port()
    upstream = [sys.executable, "-P", "-m", "benchmarks.upstream", f"{port}:{pem}"]
    stack.enter_context(server(upstream, port, folder / engine / "upstream.log"))
    session.redeem(port)
    delay = [sys.executable, "-P", "-m", "benchmarks.delay", f"{relay}", f"{running.port}"]
    stack.enter_context(server([*delay, f"{ROUND_TRIP}"], relay, folder / engine / "delay.log"))
    return running, relay, session.host, folder / engine / "ca" / "ca.pem"


def _transfer(
    running: Service, relay: int, host: str, ca: Path, version: str, direction: str, file: Path
) -> float:
    """Return the seconds that curl reports."""
    upload = ["-H", "Expect:", "--data-binary", f"@{file}", f"https://{host}:{running.port}/upload"]
    download = [f"https://{host}:{running.port}/download?bytes={SIZE}"]
    command = [
        "curl", "-sS", "-o", "/dev/null", "--cacert", str(ca), f"--http{version}",
        "--connect-to", f"{host}:{running.port}:{ADDRESS}:{relay}",
        "-w", "%{http_version} %{response_code} %{time_total}",
        *(upload if direction == "upload" else download),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    said = done.stdout.split()
    if said[:2] != [version, "200"]:
        raise FailedError(f"{' '.join(command)}: {done.stdout} {done.stderr}")
    return float(said[2])
