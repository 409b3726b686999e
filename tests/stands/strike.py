"""Inject a signal, delay or error at a running service's system call (strace)."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.stands.service import Service
from tests.stands.waiting import until


@contextlib.contextmanager
def struck(service: Service, call: str, number: str | int, by: str) -> Iterator[None]:
    """Inject `by` at the system call `call`, the `number`th of a thread (`1+`: each).

    With a signal the service may have ended when this returns.
    """
    assert service.process
    tasks = Path(f"/proc/{service.process.pid}/task")
    command = [
        "strace", "--follow-forks", "--quiet=all", f"--attach={service.process.pid}", "--output=/dev/null",
        f"--trace={call}", f"--inject={call}:{by}:when={number}",
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:

        def is_there() -> bool:
            # A thread that one without a tracer starts meanwhile is missed, so it attaches again.
            stack.close()
            stack.enter_context(_tracer(command))
            with contextlib.suppress(AssertionError):
                until(lambda: _is_traced(tasks) or has_ended(), "strace is there", 3)
            return _is_traced(tasks) or has_ended()

        def has_ended() -> bool:
            # By a call of its own work, struck before the caller's. No tracer can attach to a zombie.
            return service.process is not None and service.process.poll() is not None

        until(is_there, "strace has all threads")
        yield


def _is_traced(tasks: Path) -> bool:
    try:
        return all("TracerPid:\t0\n" not in task.read_text() for task in tasks.glob("*/status"))
    except OSError:  # a thread ended meanwhile
        return False


@contextlib.contextmanager
def _tracer(command: list[str]) -> Iterator[None]:
    tracer = subprocess.Popen(command)
    try:
        yield
    finally:
        # Without SIGTERM: detaching from a process that is being killed may wait for ever.
        tracer.kill()
        tracer.wait()
