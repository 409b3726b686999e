"""What strace does to a running service: a signal, a delay or an error at a system call of its."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.faults.service_stand import Service, until


@contextlib.contextmanager
def struck(service: Service, call: str, number: str | int, by: str) -> Iterator[None]:
    """Within, the service meets with `by` at a thread's system call `call` of that number ("1+": at each)."""
    assert service.process
    tasks = Path(f"/proc/{service.process.pid}/task")
    tracer = subprocess.Popen([
        "strace", "--follow-forks", "--quiet=all", f"--attach={service.process.pid}", "--output=/dev/null",
        f"--trace={call}", f"--inject={call}:{by}:when={number}",
    ])  # fmt: skip
    try:
        until(
            lambda: all("TracerPid:\t0\n" not in t.read_text() for t in tasks.glob("*/status")),
            "strace is there",
        )
        yield
    finally:
        # Not told to end: as it lets go of a process that is being killed, it may wait for ever.
        tracer.kill()
        tracer.wait()
