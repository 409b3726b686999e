"""Waiting pages, each with a stream of events over its own TLS connection, through the embedded engine:
2,000 of them on 500 sessions. Memory of each, their CPU while only heartbeats are sent, and the time until
the last of them has the event, when all jobs start at once."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from pathlib import Path

from benchmarks.processes import ADDRESS, FailedError
from benchmarks.report import Row, at_most, beside
from benchmarks.service import Service, Session, service

NEEDS: tuple[str, ...] = ()
SESSIONS = 500
OF_EACH = 4
AT_ONCE = 50  # handshakes
SILENCE = 30.0  # seconds, two heartbeats
PATIENCE = 60.0  # seconds


def measure(scratch: Path) -> list[Row]:
    """Memory a page, CPU a minute, seconds until the last page knows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with service(scratch / "waiting") as running:
        api = running.connection()
        sessions = [running.issue(api) for _ in range(SESSIONS)]
        return asyncio.run(_measure(running, sessions))


async def _measure(running: Service, sessions: list[Session]) -> list[Row]:
    pages = SESSIONS * OF_EACH
    before = _memory(running.pid)
    handshakes = asyncio.Semaphore(AT_ONCE)
    streams = await asyncio.gather(
        *(_open(running, session, handshakes) for session in sessions for _ in range(OF_EACH))
    )
    memory = (_memory(running.pid) - before) / pages
    began = _cpu(running.pid)
    await asyncio.sleep(SILENCE)
    idle = (_cpu(running.pid) - began) * 60 / SILENCE
    hear = [asyncio.create_task(_hears(reader, b'"starting"')) for reader, _ in streams]
    start = time.perf_counter()
    began = _cpu(running.pid)
    await asyncio.to_thread(_start_all, sessions)
    said = time.perf_counter()
    async with asyncio.timeout(PATIENCE):
        last = max(await asyncio.gather(*hear))
    spent = _cpu(running.pid) - began
    for _, writer in streams:
        writer.close()
    what = f"{pages:,} pages that wait"
    return [
        beside(f"{what}: memory of the service, each", memory / 1024, "KiB"),
        at_most(f"{what}: CPU a minute while nothing happens", idle, 3.0, "s"),
        beside(f"{what}: {SESSIONS} jobs that start, one call each", said - start, "s"),
        at_most(
            f"{what}: from the last call's answer until the last page knows", last - said, 0.5, "s"
        ),
        beside(f"{what}: CPU for these calls and pages", spent, "s"),
    ]


async def _open(
    running: Service, session: Session, handshakes: asyncio.Semaphore
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with handshakes:
        reader, writer = await asyncio.open_connection(
            ADDRESS, running.port, ssl=running.trust, server_hostname=session.host
        )
        request = f"GET /.rps/events HTTP/1.1\r\nHost: {session.host}:{running.port}\r\n\r\n"
        writer.write(request.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head:
            raise FailedError(head.decode())
        await _hears(reader, b'"pending"')
        return reader, writer


async def _hears(reader: asyncio.StreamReader, word: bytes) -> float:
    """When it did."""
    while word not in await reader.readuntil(b"\n"):
        pass
    return time.perf_counter()


def _start_all(sessions: list[Session]) -> None:
    for session in sessions:
        path = f"/api/v1/sessions/{session.name}/job"
        session.api.post(path, {"state": "running"}, session.claim)


def _memory(pid: int) -> int:
    """Bytes resident."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _cpu(pid: int) -> float:
    """Seconds of a processor that it has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
