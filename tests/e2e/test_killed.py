"""The launcher is killed, or meets another command, at any step.

No unknown job runs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.stands.waiting import until


def jobs(installed: Any) -> list[int]:
    """Return the processes of jobs."""
    found = []
    for pid in installed.user.processes():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"supervisor" in command or b"agent.pyz" in command or b"jupyter" in command:
            found.append(pid)
    return found


def living(installed: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(installed.rps("list", "--json").stdout)
    return found


@pytest.fixture(autouse=True)
def _clean(installed: Any) -> Iterator[None]:
    yield
    installed.rps("stop", "--all")


@pytest.mark.parametrize("delay", [0.15, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.8])
def test_the_launcher_is_killed(installed: Any, delay: float) -> None:
    installed.rps("list")  # warm the file cache, for which the delays have no time
    process = installed.user.popen(
        [str(installed.directory / "rps"), "start", "--no-wait"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(delay)
    process.kill()
    process.wait()
    time.sleep(1)  # a supervisor that was just started
    for session in living(installed):
        # Each session is known by its job, or will be reported without one.
        assert session["job_id"] or session["state"] == "unknown", session
    installed.rps("stop", "--all")
    until(lambda: jobs(installed) == [], "the end of its job")
    assert living(installed) == []


def test_stopped_while_it_was_being_started(installed: Any) -> None:
    """Test a stop between record and submission: no job is left without a session."""
    process = installed.user.popen(
        [str(installed.directory / "rps"), "start", "--no-wait"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    sessions = Path(installed.user.home) / ".local/state/rps/sessions"

    def unsubmitted() -> list[Path]:
        found = []
        for path in sessions.glob("*/session.json"):
            record = json.loads(path.read_text())
            if record["job_id"] is None and not (path.parent / "end.json").exists():
                found.append(path)
        return found

    deadline = time.monotonic() + 120
    while not unsubmitted() and process.poll() is None:
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGSTOP)  # does nothing if it has ended already
    try:
        stopped = installed.rps("stop", "--all", check=False)
    finally:
        process.send_signal(signal.SIGCONT)
    output, errors = process.communicate(timeout=60)
    assert stopped.returncode == 0, stopped.stderr
    assert "Traceback" not in errors
    # Interrupted in between: reported without a URL. Else it had ended already.
    assert (process.returncode == 0) == bool(output.strip()), (process.returncode, output, errors)
    until(lambda: jobs(installed) == [], "the end of its job")
    assert living(installed) == []


def test_following_the_log_of_a_job_that_is_killed_ends(installed: Any) -> None:
    found = json.loads(installed.rps("start", "--wait", "--json").stdout)
    process = installed.user.popen(
        [str(installed.directory / "rps"), "logs", "-f"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    time.sleep(1)
    os.kill(int(found["job_id"].partition(".")[0]), signal.SIGKILL)
    for pid in jobs(installed):
        with suppress(ProcessLookupError):  # it ended with the one before
            os.kill(pid, signal.SIGKILL)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "rps: ready" in output


@pytest.mark.parametrize("damage", ["claim.json", "session.json", "events.jsonl"])
def test_one_damaged_session_harms_no_other(installed: Any, damage: str) -> None:
    victim = json.loads(installed.rps("start", "--wait", "--json").stdout)
    other = json.loads(installed.rps("start", "--wait", "--json").stdout)
    directory = Path(installed.user.home) / ".local/state/rps/sessions" / victim["name"]
    kept = (directory / damage).read_bytes()
    (directory / damage).write_bytes(b"[]\n5\n")
    shown = {session["name"]: session["state"] for session in living(installed)}
    assert shown[other["name"]] == "ready"
    if damage == "session.json":
        assert "is not a session record" in installed.rps("list").stderr
        (directory / damage).write_bytes(kept)
    installed.rps("stop", victim["name"])
    assert [session["name"] for session in living(installed)] == [other["name"]]


def test_nothing_is_locked_where_the_records_are(
    installed: Any, need: Callable[[str], str]
) -> None:
    """Test a home on NFS without locks.

    The job ends at once, since strace waits for it.
    """
    installed.rps("start", "--no-wait")  # the personal service, whose lock is elsewhere
    installed.rps("stop", "--all")
    home = Path(installed.user.home)
    prologue = installed.user.make(home / "locks") / "ends.sh"
    prologue.write_text("exit 1\n")
    trace = home / "locks" / "trace"
    for arguments in (["start", "--no-wait", "--prologue", str(prologue)], ["list"], ["doctor"]):
        done = installed.user.run(
            [need("strace"), "-f", "-qq", "-y", "-o", str(trace), "-e", "trace=flock,fcntl,openat",
             str(installed.directory / "rps"), *arguments],
            capture_output=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        calls = trace.read_text().splitlines()
        ours = [line for line in calls if ".local/state/rps" in line]
        assert ours, "nothing was opened there?"
        assert [line for line in ours if "flock(" in line or "SETLK" in line] == []
    until(lambda: living(installed) == [], "the end of its processes")
