"""A download and an upload of 1 GB (2**30 bytes) through the embedded engine, over verified TLS on both
sides: the peak of the service's memory (VmHWM) above its size before (VmRSS)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.processes import FailedError, forget_peak, free_port, memory, server
from benchmarks.report import Row, at_most, beside
from benchmarks.service import Connection, service

NEEDS: tuple[str, ...] = ()
LIMIT = 50
SIZE = 2**30
PART = bytes(256 * 1024)


def measure(scratch: Path) -> list[Row]:
    """One row of memory and one of speed for each direction."""
    with service(scratch / "transfers") as running:
        session = running.issue()
        pem = session.certificate(scratch / "transfers" / "session.pem")
        port = free_port()
        command = [sys.executable, "-P", "-m", "benchmarks.upstream", f"{port}:{pem}"]
        with server(command, port, scratch / "transfers" / "upstream.log"):
            session.redeem(port)
            rows: list[Row] = []
            directions: dict[str, Callable[[Connection, int], None]] = {
                "download": _download,
                "upload": _upload,
            }
            for name, transfer in directions.items():
                connection = running.connection(session.host)
                transfer(connection, 1024)  # opened before we look
                forget_peak(running.pid)
                before = memory(running.pid, "VmRSS")
                begun = time.perf_counter()
                transfer(connection, SIZE)
                took = time.perf_counter() - begun
                growth = memory(running.pid, "VmHWM") - before
                connection.close()
                rows += [
                    at_most(f"memory grown by a 1 GB {name}", max(growth, 0), LIMIT, "MB"),
                    beside(f"speed of the {name}", SIZE / took / 1e6, "MB/s"),
                ]
    return rows


def _download(connection: Connection, size: int) -> None:
    connection.request("GET", f"/download?bytes={size}")
    response = connection.getresponse()
    total, part = 0, bytearray(len(PART))
    while count := response.readinto(part):
        total += count
    if response.status != 200 or total != size:
        raise FailedError(f"a download of {total} bytes, status {response.status}")


def _upload(connection: Connection, size: int) -> None:
    connection.request("POST", "/upload", _zeros(size), {"Content-Length": str(size)})
    response = connection.getresponse()
    counted = response.read()
    if response.status != 200 or int(counted) != size:
        raise FailedError(f"an upload of {counted!r} bytes, status {response.status}")


def _zeros(size: int) -> Iterator[bytes]:
    while size:
        yield PART[:size]
        size -= len(PART[:size])
