"""Programs that a benchmark starts, always ended by it, and what they cost."""

from __future__ import annotations

import os
import resource
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ADDRESS = "127.0.0.1"
START_TIME = 30.0  # seconds until a server must take connections
END_TIME = 10.0  # seconds from SIGTERM to SIGKILL
_TICKS = os.sysconf("SC_CLK_TCK")


class FailedError(Exception):
    """A benchmark that could not be carried out; the text says why."""


class LeftOutError(Exception):
    """A benchmark that this machine or this user is not for; the text says why."""


def most_files() -> None:
    """Raise the limit of open files to the maximum: each websocket needs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(
    command: Sequence[str],
    port: int,
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    patience: float = START_TIME,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that listens on `port` within `patience` seconds, for the length of the block."""
    with log.open("ab") as output:
        # A session of its own: Ctrl-C is for us, and we end it.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            start_new_session=True,
        )
    try:
        _wait_for(process, port, log, patience)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_TIME)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            socket.create_connection((ADDRESS, port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise FailedError(
                    f"{process.args!r} does not listen:\n{log.read_text()[-2000:]}"
                ) from None
            time.sleep(0.05)
        else:
            return


def run_measured(command: Sequence[str], env: Mapping[str, str] | None = None) -> float:
    """CPU seconds, user and system, of a command and of the children that it waited for.

    Raises:
        FailedError: it failed; holds what it said.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=env,
    )
    assert process.stderr is not None
    try:
        with process.stderr:
            said = process.stderr.read().decode("utf-8", "replace")
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.send_signal(signal.SIGINT)  # so that it leaves nothing half done
        process.wait()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise FailedError(f"{command!r} failed: {said}")
    return usage.ru_utime + usage.ru_stime


def median_cpu(command: Sequence[str], times: int, env: Mapping[str, str] | None = None) -> float:
    """Return the median of `run_measured`, after one run that warms the caches."""
    run_measured(command, env)
    return statistics.median(run_measured(command, env) for _ in range(times))


def tree_cpu(pid: int) -> float:
    """CPU seconds so far of a process, its threads and its descendants."""
    parents: dict[int, int] = {}
    cpu: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            parents[int(entry.name)] = int(fields[1])
            # Its own time, and that of the children it has waited for.
            cpu[int(entry.name)] = sum(int(field) for field in fields[11:15]) / _TICKS
    total, tree = 0.0, [pid]
    while tree:
        member = tree.pop()
        total += cpu.get(member, 0.0)
        tree += [child for child, parent in parents.items() if parent == member]
    return total


def children(pid: int) -> list[int]:
    """Return the processes that this one started and that run."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def proportional_memory(pid: int) -> float:
    """Its own memory and its share of what it shares, in MB of 10**6 bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise FailedError(f"process {pid} says nothing of its memory")


def memory(pid: int, field: str) -> float:
    """`VmRSS` (now) or `VmHWM` (the most so far) of a process, in MB of 10**6 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise FailedError(f"process {pid} says nothing of its {field}")


def forget_peak(pid: int) -> None:
    """Let `VmHWM` count from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
