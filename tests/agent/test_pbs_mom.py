"""The agent and a real Jupyter in a job of Torque or PBS, as pbs_mom handles it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from rps_core.models import Allocation, SessionSpec
from rps_core.node.agent.processes import start_ticks
from rps_core.node.agent.sockets import (
    SOCKETS_NOTE,
    is_abandoned,
    remove_abandoned,
    remove_sockets_directory,
)
from rps_core.schedulers.pbs import torque
from rps_core.schedulers.pbs.directives import JOB_SHELL, write_job_shell
from tests.stands import mom
from tests.stands.agent import CORE, NAME, event, events, job_of, make_session, stand_in
from tests.stands.waiting import until


@contextmanager
def running(directory: Path) -> Iterator[tuple[Path, mom.Mom]]:
    """Yield a session's directory, and its job; the session is ready."""
    with stand_in(directory / "service") as stand:
        session = make_session(directory / "session", stand, job=job_of("torque"))
        (session / "prepare.sh").touch()
        spec = SessionSpec(
            name=NAME,
            tag="tag",
            app="lab",
            template=CORE / "schedulers" / "pbs" / "batch" / "jupyterlab.sh",
            session_dir=session,
            directory=session,
            allocation=Allocation(walltime=timedelta(seconds=600)),
        )
        script = session / "batch.sh"
        script.write_text(torque.rps_render_batch(spec))
        script.chmod(0o700)
        write_job_shell(session)
        environment = {**os.environ, "PBS_JOBID": "1.server", "PBS_ENVIRONMENT": "PBS_BATCH"}
        with mom.job(session / JOB_SHELL, str(script), environment) as job:
            try:
                event(session, "ready")
                yield session, job
            finally:
                job.kill()
                remove_sockets_directory(str(session / "run"))


def test_a_deleted_job_ends_in_good_order(tmp_path: Path) -> None:
    """Test that no shell above the agent dies of TERM: mom would kill the agent."""
    with running(tmp_path) as (session, job):
        sockets = Path((session / "run" / SOCKETS_NOTE).read_text())
        assert sockets.is_dir()
        assert event(session, "started")["pid"] == job.shell.pid
        job.end()
        (ended,) = events(session, "ended")
        assert ended["cause"] == "signal"
        assert not sockets.exists()
        assert not (session / "run").exists()
        assert not (session / "claim.json").exists()


def test_what_a_job_leaves_that_is_killed_at_once_is_removed_by_the_next(tmp_path: Path) -> None:
    """`qdel -p`, kill_delay 0, no memory: no program can remove anything then."""
    with running(tmp_path) as (session, job):
        sockets = (session / "run" / SOCKETS_NOTE).read_text()
        remove_abandoned()
        assert Path(sockets).is_dir(), "that of a living agent"
        job.kill()
        until(lambda: is_abandoned(sockets), "the end of its agent")
        remove_abandoned()
        assert not Path(sockets).exists()


@pytest.mark.parametrize("again", [1, 2])
def test_qsig_usr1_warns_and_ends_nothing(tmp_path: Path, again: int) -> None:
    """Both schedulers send it to every process of the job's session."""
    with running(tmp_path) as (session, job):
        jupyter = event(session, "application")["pid"]
        ticks = start_ticks(jupyter)
        assert jupyter in job.members()
        for _ in range(again):
            job.signal(signal.SIGUSR1)
        assert 0 < event(session, "time-nearly-up")["left"] <= 600
        event(session, "time-left")
        assert start_ticks(jupyter) == ticks
        # Not ignored: a shell in a notebook could not trap it.
        ignored, caught = (_signals(jupyter, kind) for kind in ("SigIgn", "SigCgt"))
        assert signal.SIGUSR1 in caught
        assert signal.SIGUSR1 not in ignored
        job.end()
        (ended,) = events(session, "ended")
        assert ended["cause"] == "signal"


def _signals(pid: int, kind: str) -> set[int]:
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(kind)]
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}
