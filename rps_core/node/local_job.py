"""Run one job of the local scheduler, in the process that `rps_core.node.supervisor` has detached.

Whatever the job leaves behind is reparented to it and ended. At the end it writes
`exit.json`: `outcome` (completed, failed, cancelled, timeout), `exit_code`, `signal`, `time`.

The handshake is a socket of the launcher: the job's id goes out, and the job begins when a byte comes
back. A launcher that dies before, or is interrupted, leaves no job; one that dies right after, before
it has noted the id, finds it in the file `job-id`.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from rps_core.node.agent.processes import Processes
from rps_core.node.agent.sockets import remove_sockets_directory
from rps_core.node.agent.wake import Wake
from rps_core.node.agent.words import how, log
from rps_core.node.job_id import job_id

GRACE = 10.0  # seconds between TERM and KILL: the agent needs eight


def main() -> int:
    """Run the job that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m rps_core.node.supervisor",
        description="Run one job of rps's local scheduler.",
    )
    parser.add_argument("session", type=Path, help="the session's directory")
    parser.add_argument("--walltime", type=float, required=True, help="seconds")
    parser.add_argument("--handshake", type=int, help="file descriptor of the launcher's socket")
    arguments = parser.parse_args()
    wake = Wake()
    os.chdir(arguments.session)
    umask = os.umask(0o077)
    note = arguments.session / "job-id"
    write_whole(note, job_id(os.getpid()))
    if arguments.handshake is not None and not agreed(arguments.handshake):
        note.unlink(missing_ok=True)
        return 1
    run(arguments.session, arguments.walltime, umask, wake)
    return 0


def agreed(handshake: int) -> bool:
    """Send the launcher the job's id; return whether it answers with its go-ahead."""
    with socket.socket(fileno=handshake) as launcher:
        try:
            launcher.sendall(job_id(os.getpid()).encode())
            return launcher.recv(1) == b"+"
        except OSError:
            return False


def run(session: Path, walltime: float, umask: int, wake: Wake) -> None:
    """Run one job, from its start to `exit.json`, with the user's `umask`."""
    processes = Processes()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RPS_")}
    environment["RPS_JOB_ID"] = job_id(os.getpid())
    shell = shutil.which("bash") or "/bin/sh"
    deadline = time.monotonic() + walltime
    batch = processes.start(
        [shell, str(session / "batch.sh")], umask=umask, env=environment, stdin=subprocess.DEVNULL
    )
    outcome = ""
    while not outcome:
        wake.wait(min(deadline - time.monotonic(), 3600.0))
        code = processes.exit_code(batch)
        if code is not None:
            outcome = "completed" if code == 0 else "failed"
        elif wake.asked_to_end:
            outcome = "cancelled"
        elif time.monotonic() >= deadline:
            outcome = "timeout"
            log("the job has reached its walltime limit")
    survivors = processes.end(batch, GRACE, wake.hurry)
    if survivors:
        log(f"could not end these processes: {', '.join(map(str, survivors))}")
    remove_sockets_directory(str(session / "run"))  # of an agent that was killed
    code = processes.exit_code(batch)
    log(f"job {outcome}" + ("" if code is None else f": {how(code)}"))
    write_exit(session, outcome, code)


def write_exit(session: Path, outcome: str, code: int | None) -> None:
    """Write exit.json atomically; `code` is negative for a signal."""
    record = {
        "outcome": outcome,
        "exit_code": code if code is None or code >= 0 else None,
        "signal": -code if code is not None and code < 0 else None,
        "time": time.time(),
    }
    write_whole(session / "exit.json", json.dumps(record) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a file atomically.

    Not by `rps_core.state`, which this package may not import: it is below all others.
    """
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, "utf-8")  # a host's name is in the job's id
    partial.replace(path)
