"""The scheduler of a machine that has none: each job is a process tree under a supervisor of its own.

A job's id names one process for good (pid, start time, boot, host), so it can be polled without a
daemon and without taking another process for the job. See `rps_core.node.supervisor`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.node import supervisor
from rps_core.node.agent.processes import descendants, send, start_ticks
from rps_core.plugin import (
    Evidence,
    Gone,
    Job,
    JobPhase,
    JobStatus,
    Known,
    Outcome,
    Question,
    SchedulerError,
    Submission,
    Unknown,
    hookimpl,
    render,
)
from rps_core.session_files import SessionFiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.resources.abc import Traversable

    from rps_core.plugin import SessionSpec

START_TIME = 20.0  # seconds for a supervisor to report: an interpreter's start on a loaded machine
CANCEL_TIME = 20.0  # seconds for it to end its job, before that is done over its head


@hookimpl(trylast=True)
def rps_scheduler_config() -> Traversable:
    """Beside this module."""
    return Path(__file__).with_name("local.yaml")


@hookimpl(trylast=True)
def rps_render_batch(spec: SessionSpec) -> str:
    """The template as it is: there is nobody to direct."""
    return render(spec.template, (), spec.session_dir)


@hookimpl(trylast=True)
def rps_submit(spec: SessionSpec, script: Path) -> str:
    """Start a supervisor, which runs `script`, the `batch.sh` of the session's directory."""
    import socket
    import subprocess
    import sys

    ours, theirs = socket.socketpair()
    ours.settimeout(START_TIME)
    job_id = ""
    walltime = spec.allocation.walltime.total_seconds()
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    with ours, theirs:
        try:
            log = os.open(spec.session_dir / "job.log", flags, 0o600)
        except OSError as error:
            raise SchedulerError(f"The job's log cannot be written: {error}") from None
        try:
            # -P: `-m` must not import from whatever directory the user stands in.
            command = [sys.executable, "-P", "-m", "rps_core.node.supervisor", str(script.parent)]
            command += ["--walltime", str(walltime), "--handshake", str(theirs.fileno())]
            starter = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={k: v for k, v in os.environ.items() if not k.startswith("RPS_")},
                start_new_session=True,
            )
        except OSError as error:
            raise SchedulerError(f"The job's supervisor does not start: {error}") from None
        finally:
            os.close(log)
        theirs.close()
        try:
            job_id = ours.recv(256).decode()
            if job_id:
                ours.sendall(b"+")  # until here, an interrupt leaves no job
                return job_id
            reason = "it ended at once"
        except OSError as error:
            reason = str(error)
        finally:
            if not job_id:
                starter.kill()
            starter.wait()
    raise SchedulerError(
        f"The job's supervisor does not start: {reason}", f"See {spec.session_dir / 'job.log'}"
    )


@hookimpl(trylast=True)
def rps_poll(jobs: Sequence[Job]) -> Mapping[str, JobStatus]:
    """Look at each job's supervisor, and at what it left behind."""
    return {job.id: _poll(job) for job in jobs}


@hookimpl(trylast=True)
def rps_testimony(job: Job) -> Sequence[Evidence]:
    """What the job's keeper noted of its end, or that there is none."""
    status = _poll(job)
    return [Evidence(source="supervisor", line=status.evidence)] if isinstance(status, Gone) else []


@hookimpl(trylast=True)
def rps_find_jobs(submissions: Sequence[Submission]) -> Mapping[str, str]:
    """As they noted it: a supervisor does so before its job begins."""
    noted = {
        submission.tag: SessionFiles(submission.session_dir).noted_job_id()
        for submission in submissions
    }
    return {tag: job_id for tag, job_id in noted.items() if job_id}


@hookimpl(trylast=True)
def rps_tagged_jobs() -> Sequence[str]:
    """The supervisors that run on this machine for this user."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is hidden from us
            command = (entry / "cmdline").read_bytes().split(b"\0")
            if b"rps_core.node.supervisor" in command and entry.stat().st_uid == os.geteuid():
                found.append(supervisor.job_id(int(entry.name)))
    return found


@hookimpl(trylast=True)
def rps_questions() -> Sequence[Question]:
    """There is nobody to ask."""
    return ()


@hookimpl(trylast=True)
def rps_cancel(job: Job) -> bool:
    """Ask the supervisor to end the job; where it does not, end everything below it, and it."""
    process = _Process.of(job.id)
    if process is None:
        raise SchedulerError(f"{job.id!r} is no job of the local scheduler")
    if not process.supervises(job.session_dir):
        if process.elsewhere() and _recorded_end(job) is None:
            raise SchedulerError(f"This job runs on {process.host}", f"Log in to {process.host}")
        return False
    send(process.pid, process.ticks, signal.SIGTERM)
    if not process.ends_within(CANCEL_TIME):
        # It is frozen, or waits for a process that cannot be ended. Children first: without it
        # they would be out of sight.
        for pid, ticks in descendants(process.pid).items():
            send(pid, ticks, signal.SIGKILL)
        send(process.pid, process.ticks, signal.SIGKILL)
        if not process.ends_within(5.0):
            raise SchedulerError(f"Process {process.pid}, the job's supervisor, cannot be ended")
    return True


@dataclass(frozen=True)
class _Process:
    """A job id taken apart; `ticks` since the boot when the supervisor started."""

    pid: int
    ticks: int
    boot: str
    host: str

    @classmethod
    def of(cls, job_id: str) -> _Process | None:
        found = re.fullmatch(r"(\d+)\.(\d+)\.([0-9a-f]{8})@(.+)", job_id)
        return cls(int(found[1]), int(found[2]), found[3], found[4]) if found else None

    def lives(self) -> bool:
        return self.boot == supervisor.boot() and start_ticks(self.pid) == self.ticks

    def supervises(self, session: Path) -> bool:
        """It lives, and is the supervisor of this session: a record that names any other process of
        ours, by mistake or by malice, is believed nothing.
        """
        here = Path(f"/proc/{self.pid}")
        try:
            return (
                self.lives()
                and here.stat().st_uid == os.geteuid()
                and b"rps_core.node.supervisor" in (here / "cmdline").read_bytes().split(b"\0")
                and (here / "cwd").samefile(session)  # however it was spelled on the command line
            )
        except OSError:  # it has ended meanwhile, or is somebody else's
            return False

    def elsewhere(self) -> bool:
        """The job may run on another machine, for all that can be seen on this one."""
        return self.host != os.uname().nodename

    def ends_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.lives():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def age(self) -> float:
        """Seconds since it started."""
        ticks_a_second = os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.ticks / ticks_a_second


def _poll(job: Job) -> JobStatus:
    process = _Process.of(job.id)
    if process is None:
        return Unknown(reason=f"{job.id!r} is no job of the local scheduler")
    if process.supervises(job.session_dir):  # then this is its machine, whatever it is called now
        return Known(
            phase=JobPhase.RUNNING,
            node=process.host,
            time_left=_time_left(job, process),
        )
    # In this order: the supervisor writes exit.json before it ends.
    end = _recorded_end(job)
    if end is not None:
        return end
    if process.elsewhere():
        return Unknown(reason=f"this job runs on {process.host}; ask there")
    return _unrecorded_end(process)


def _time_left(job: Job, process: _Process) -> timedelta | None:
    try:
        walltime = json.loads((job.session_dir / "launch.json").read_bytes())["walltime"]
        return timedelta(seconds=max(0, round(walltime - process.age())))
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ):  # the launcher's own file: better left unsaid
        return None


def _recorded_end(job: Job) -> Gone | None:
    """What exit.json says; None where the supervisor has not written one (yet, or was killed)."""
    try:
        record = json.loads((job.session_dir / "exit.json").read_bytes())
        code, by_signal = record["exit_code"], record["signal"]
        how = f"signal {by_signal}" if by_signal else f"exit code {code}"
        return Gone(
            outcome=Outcome(record["outcome"]),
            evidence=f"exit.json: {record['outcome']}, {how}",
            exit_code=code,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _unrecorded_end(process: _Process) -> Gone:
    if process.boot != supervisor.boot():
        evidence = "the machine was rebooted since"
    elif start_ticks(process.pid) is not None:
        evidence = f"process {process.pid} is another one by now, and there is no exit.json"
    else:
        evidence = f"there is no process {process.pid}, and no exit.json: it was killed"
    return Gone(outcome=Outcome.ENDED, evidence=evidence)
