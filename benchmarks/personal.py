"""What a personal service on a cluster costs its login node: the process's memory (RSS), and its CPU as a
part of one core, with one session that is idle for a minute, and while a browser downloads 10 MB/s of a file
for half a minute. The download comes from a real JupyterLab through the browsers' Unix socket; ssh's own cost
is not counted."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.report import Row, at_most
from benchmarks.start import own_home
from rps_proxy.personal.running import CLUSTER_DIRECTORY, RUNNING_FILE

NEEDS: tuple[str, ...] = ()
IDLE_TIME, BUSY_TIME = 60.0, 30.0  # seconds
RATE = 10_000_000  # bytes a second
_PART = 1_000_000  # bytes
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def measure(scratch: Path) -> list[Row]:
    """Start one session by a service as on a login node."""
    script = str(Path(sys.executable).with_name("rps"))
    with own_home(scratch / "personal", script) as env:
        command = [script, "start", "--wait", "--json", "--set", "proxy.listen=127.0.0.2"]
        started = subprocess.run(command, env=env, cwd=env["HOME"], check=True, capture_output=True)
        session = json.loads(started.stdout)
        (Path(env["HOME"]) / "large").write_bytes(bytes(int(RATE * BUSY_TIME)))
        directory = scratch / "personal" / "service" / CLUSTER_DIRECTORY
        pid = json.loads((directory / RUNNING_FILE).read_text())["pid"]
        idle_memory = _memory(pid)
        began, before = time.monotonic(), _cpu(pid)
        time.sleep(IDLE_TIME)
        idle = (_cpu(pid) - before) / (time.monotonic() - began)
        began, before = time.monotonic(), _cpu(pid)
        _download(session["tunnel"]["socket"], session["url"])
        busy = (_cpu(pid) - before) / (time.monotonic() - began)
        rows = [
            at_most("memory, one session", idle_memory / 1e6, 100, "MB"),
            at_most("memory, after the download", _memory(pid) / 1e6, 120, "MB"),
            at_most("CPU, idle, of a core", 100 * idle, 1, "%"),
            at_most("CPU, at 10 MB/s, of a core", 100 * busy, 25, "%"),
        ]
        os.kill(pid, 15)
        return rows


def _download(path: str, url: str) -> None:
    parts = urlsplit(url)
    head = f"GET /files/large?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    received, began = 0, time.monotonic()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(head.encode())
        while data := connection.recv(_PART):
            received += len(data)
            time.sleep(max(0.0, began + received / RATE - time.monotonic()))
    if received < RATE * BUSY_TIME:
        raise RuntimeError(f"the download ended after {received} bytes")


def _cpu(pid: int) -> float:
    """Return a process's CPU in seconds, user and system, with its children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def _memory(pid: int) -> int:
    """Return a process's resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
