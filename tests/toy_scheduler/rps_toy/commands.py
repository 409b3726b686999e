"""Toy's commands: a job is a file in $TOY_SPOOL and a keeper process.

The job's file has only one writer: toysub, then the keeper. The other commands leave a note beside it. All
append their arguments to `commands.log`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

SHORTEST = 600  # seconds: a job that asks for less gets this much


def spool() -> Path:
    """Return the directory of the jobs."""
    return Path(os.environ["TOY_SPOOL"])


def read(job_id: str) -> dict[str, Any]:
    """Return a job by its id."""
    if not (job_id.isdecimal() and (spool() / f"{job_id}.json").is_file()):
        fail(f"no job {job_id}")
    found: dict[str, Any] = json.loads((spool() / f"{job_id}.json").read_text())
    return found


def write(job: dict[str, Any]) -> None:
    """Replace a job's file."""
    new = spool() / f"{job['id']}.new"
    new.write_text(json.dumps(job))
    new.rename(spool() / f"{job['id']}.json")


def left(job: dict[str, Any]) -> int:
    """Return the seconds until the job's end."""
    began: float = job.get("began", time.time())
    seconds: int = job["seconds"]
    return max(0, round(began + seconds - time.time()))


def toysub() -> None:
    """Submit a script with #TOY lines; print the job's id."""
    script = Path(arguments(1)[0]).absolute()
    wanted = dict(re.findall(r"^#TOY (\w+) (.*)$", script.read_text(), re.MULTILINE))
    number = 1
    while True:  # the first number that is free
        try:
            (spool() / f"{number}.taken").touch(exist_ok=False)
            break
        except FileExistsError:
            number += 1
    job = {**wanted, "id": str(number), "script": str(script), "state": "queued", "node": "-"}
    write({**job, "seconds": max(SHORTEST, int(wanted["seconds"]))})
    subprocess.Popen(
        [sys.executable, "-P", "-m", "rps_toy.keeper", str(number)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, cwd="/",
    )  # fmt: skip
    print(f"Toy has accepted job {number}")


def toystat() -> None:
    """Print all jobs: id, name, tag, state, node and seconds left.

    $TOYSTAT_SEPARATOR separates the fields, by default a tab.
    """
    arguments(0)
    separator = os.environ.get("TOYSTAT_SEPARATOR", "\t")
    for file in sorted(spool().glob("*.json")):
        job = json.loads(file.read_text())
        print(
            job["id"], job["name"], job["tag"], job["state"], job["node"], left(job), sep=separator
        )


def toyname() -> None:
    """Print the cluster's name."""
    arguments(0)
    print("toyland")


def toyleft() -> None:
    """Print how much time a job has left."""
    minutes, seconds = divmod(left(read(arguments(1)[0])), 60)
    print(f"{minutes}m {seconds}s left")


def toydel() -> None:
    """Delete a job and wait for its end; exit code 3: it has ended before."""
    end("deleted")


def toypreempt() -> None:
    """End a job for the sake of a better one, as toydel."""
    end("preempted")


def end(state: str) -> None:
    """Ask a job's keeper to end it."""
    job_id = arguments(1)[0]
    if read(job_id)["state"] not in ("queued", "running"):
        sys.exit(3)
    (spool() / f"{job_id}.end").write_text(state)
    while read(job_id)["state"] in ("queued", "running"):
        time.sleep(0.05)


def arguments(count: int) -> list[str]:
    """Return the arguments, which are logged."""
    name = Path(sys.argv[0]).name
    with (spool() / "commands.log").open("a") as log:
        log.write(" ".join([name, *sys.argv[1:]]) + "\n")
    if len(sys.argv) != count + 1:
        fail(f"{count} arguments wanted")
    return sys.argv[1:]


def fail(reason: str) -> NoReturn:
    """End with the exit code 1."""
    sys.exit(f"toy: {reason}")
