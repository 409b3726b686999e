"""Run one job's script; end it at its limit or on request; record its exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import commands

GRACE = 15.0  # seconds between TERM and KILL
WORDS = {
    "preempted": "toy: job {} makes way for a better job",
    "out-of-time": "toy: job {} is out of time",
}


def processes(job_id: str) -> list[int]:
    """Return what runs in the job, by its variables."""
    marks = {f"TOY_JOBID={job_id}".encode(), f"TOY_SPOOL={commands.spool()}".encode()}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if marks <= set((process / "environ").read_bytes().split(b"\0")):
                found.append(int(process.name))
    return found


def main() -> None:
    """Run the job to its end."""
    job = commands.read(sys.argv[1])
    environment = {**os.environ, "TOY_JOBID": job["id"]}
    with Path(job["output"]).open("ab") as output:
        script = subprocess.Popen(
            ["/bin/bash", job["script"]],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True,
        )  # fmt: skip
        job |= {"state": "running", "node": os.uname().nodename, "began": time.time()}
        commands.write(job)
        note = commands.spool() / f"{job['id']}.end"
        state = ""
        while not state and script.poll() is None:
            if commands.left(job) == 0:
                state = "out-of-time"
            elif note.exists():
                state = note.read_text()
            time.sleep(0.05)
        if state in WORDS:
            output.write(f"{WORDS[state]}\n".format(job["id"]).encode())
            output.flush()
        finish(script, job["id"], at_once=state == "preempted")
    commands.write({**job, "state": state or ("done" if script.returncode == 0 else "failed")})


def finish(script: subprocess.Popen[bytes], job_id: str, *, at_once: bool) -> None:
    """End what the job has left: TERM for its script, later KILL for all."""
    deadline = time.monotonic() + (0 if at_once else GRACE)
    if not at_once and script.poll() is None:
        script.send_signal(signal.SIGTERM)
    while script.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    while left := processes(job_id):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        script.poll()
        time.sleep(0.02)
    script.wait()


if __name__ == "__main__":
    main()
