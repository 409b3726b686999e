"""The local scheduler and its supervisor, with real processes and no Jupyter."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from rps_core.node.agent.processes import descendants, start_ticks
from rps_core.node.job_id import job_id
from rps_core.plugin import (
    Allocation,
    Gone,
    Job,
    JobPhase,
    Known,
    Outcome,
    SchedulerError,
    SessionSpec,
    Unknown,
)
from rps_core.schedulers.local import plugin as local
from tests.stands.waiting import until

T = TypeVar("T")


class Machine:
    """The local scheduler with one session's directory.

    Its jobs are ended with the test.
    """

    def __init__(self, directory: Path) -> None:
        self.session = directory / "session"
        self.session.mkdir(mode=0o700)
        self.jobs: list[Job] = []

    def spec(self, walltime: float) -> SessionSpec:
        return SessionSpec(
            name="able-baker-charlie",
            tag="tag",
            app="lab",
            template=self.session / "template.sh",
            session_dir=self.session,
            directory=self.session,
            allocation=Allocation(walltime=timedelta(seconds=walltime)),
        )

    def submit(self, text: str, walltime: float = 60) -> Job:
        spec = self.spec(walltime)
        spec.template.write_text(f"#!/bin/bash\n# rps: session\n{text}\n")
        script = self.session / "batch.sh"
        script.write_text(local.rps_render_batch(spec))
        (self.session / "launch.json").write_text(json.dumps({"walltime": walltime}))
        job = Job(id=local.rps_submit(spec, script), tag="tag", session_dir=self.session)
        self.jobs.append(job)
        return job

    def said(self, line: str) -> bool:
        return line in (self.session / "job.log").read_text().splitlines()

    def exit(self) -> dict[str, object]:
        record: dict[str, object] = json.loads((self.session / "exit.json").read_text())
        assert isinstance(record.pop("time"), float)
        return record


def test_a_job_under_environment_modules_for_another_python(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor ignores their variables, the job has them."""
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("PYTHONPATH", "/nowhere/packages")
    machine.submit('echo "$PYTHONHOME $PYTHONPATH"')
    until(lambda: machine.said("/nowhere /nowhere/packages"), "the job's output")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    for job in machine.jobs:
        local.rps_cancel(job)


def poll(job: Job) -> Known | Gone | Unknown:
    return local.rps_poll([job])[job.id]


def ended(job: Job) -> Gone:
    def look() -> Gone | None:
        status = poll(job)
        return status if isinstance(status, Gone) else None

    gone = until(look, "the end of the job")
    assert gone is not None
    return gone


def pid_of(job: Job) -> int:
    return int(job.id.partition(".")[0])


def tree(job: Job) -> dict[int, int]:
    pid = pid_of(job)
    ticks = start_ticks(pid)
    assert ticks is not None
    return {pid: ticks, **descendants(pid)}


def living(processes: dict[int, int]) -> list[int]:
    return [pid for pid, ticks in processes.items() if start_ticks(pid) == ticks]


def test_a_running_job_is_known_with_its_node_and_time(machine: Machine) -> None:
    job = machine.submit("exec sleep 1000", walltime=600)
    status = poll(job)
    assert isinstance(status, Known)
    assert status.phase is JobPhase.RUNNING
    assert status.node == os.uname().nodename
    assert status.time_left is not None
    assert timedelta(seconds=500) < status.time_left <= timedelta(seconds=600)


@pytest.mark.parametrize(
    ("text", "outcome", "code", "by_signal"),
    [
        ("true", Outcome.COMPLETED, 0, None),
        ("exit 3", Outcome.FAILED, 3, None),
        ("kill -9 $$", Outcome.FAILED, None, 9),
    ],
)
def test_how_a_job_ended(
    machine: Machine, text: str, outcome: Outcome, code: int | None, by_signal: int | None
) -> None:
    gone = ended(machine.submit(text))
    assert (gone.outcome, gone.exit_code) == (outcome, code)
    assert "exit.json" in gone.evidence
    assert machine.exit() == {"outcome": outcome, "exit_code": code, "signal": by_signal}


def test_what_the_job_gets(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPS_WALLTIME", "the launcher's own")
    monkeypatch.setenv("KEPT", "yes")
    umask = os.umask(0o027)
    try:
        job = machine.submit(
            'env; echo "umask $(umask)"; readlink /proc/self/fd/0; echo "$RPS_SESSION"'
        )
    finally:
        os.umask(umask)
    ended(job)
    assert machine.said(f"RPS_JOB_ID={job.id}")
    assert machine.said("KEPT=yes")
    assert machine.said("umask 0027")
    assert machine.said("/dev/null")
    assert machine.said(str(machine.session))
    assert "RPS_WALLTIME" not in (machine.session / "job.log").read_text()
    for name in ("job.log", "exit.json"):
        assert (machine.session / name).stat().st_mode & 0o777 == 0o600


def test_signals_that_the_launcher_ignores_are_not_ignored_in_the_job(machine: Machine) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        job = machine.submit("grep SigIgn /proc/self/status")
    finally:
        signal.signal(signal.SIGINT, before)
    ended(job)
    log = (machine.session / "job.log").read_text()
    ignored = int(log.partition("SigIgn:\t")[2].split()[0], 16)
    # 32 and 33 are glibc's own: no program can set them, and the tests may run with them ignored.
    # Torque sends USR1 to each process: it is ignored until the agent handles it.
    ours = 1 << (signal.SIGUSR1 - 1)
    assert ignored & ~(1 << 31 | 1 << 32) == ours


def test_cancel_ends_every_process_of_the_job(machine: Machine) -> None:
    # One that ignores TERM, one in a process session of its own, one daemon whose parent is pid 1.
    job = machine.submit(
        """
        (trap '' TERM; while :; do sleep 1; done) &
        setsid sleep 1001 &
        (setsid sh -c 'sleep 1002 & sleep 1003 & exit' &)
        echo up
        wait
        """
    )
    until(lambda: machine.said("up"), "the start of the job")
    processes = until(lambda: tree(job) if len(tree(job)) >= 6 else {}, "its processes")
    assert local.rps_cancel(job) is True
    assert living(processes) == []
    assert ended(job).outcome is Outcome.CANCELLED
    assert local.rps_cancel(job) is False


def test_a_cancelled_job_may_clean_up(machine: Machine) -> None:
    job = machine.submit("trap 'echo cleaning; exit 0' TERM; echo up; while :; do sleep 0.1; done")
    until(lambda: machine.said("up"), "the start of the job")
    assert local.rps_cancel(job) is True
    assert machine.said("cleaning")
    assert machine.exit() == {"outcome": "cancelled", "exit_code": 0, "signal": None}


def test_what_a_job_leaves_behind_is_ended_with_it(machine: Machine) -> None:
    # It ends once it was checked, however slow the machine is.
    seen = machine.session / "seen"
    job = machine.submit(
        f"setsid sleep 1001 & setsid nohup sleep 1002 & echo up\nuntil [ -e '{seen}' ]; do sleep 0.1; done"
    )
    until(lambda: machine.said("up"), "the start of the job")
    processes = until(lambda: tree(job) if len(tree(job)) >= 4 else {}, "its processes")
    seen.touch()
    assert ended(job).outcome is Outcome.COMPLETED
    # The supervisor may still be exiting when its command line is already empty.
    assert until(lambda: not living(processes), "the end of its processes")


def test_the_walltime_is_enforced(machine: Machine) -> None:
    job = machine.submit("trap 'echo asked; exit 0' TERM; while :; do sleep 0.1; done", walltime=1)
    assert ended(job).outcome is Outcome.TIMEOUT
    assert machine.said("asked")


def test_a_frozen_supervisor_cannot_keep_its_job(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "CANCEL_TIME", 0.5)
    job = machine.submit("setsid sleep 1001 & echo up; sleep 1002")
    until(lambda: machine.said("up"), "the start of the job")
    processes = until(lambda: tree(job) if len(tree(job)) >= 4 else {}, "its processes")
    os.kill(pid_of(job), signal.SIGSTOP)
    assert local.rps_cancel(job) is True
    assert until(lambda: not living(processes), "the end of its processes")


def test_a_killed_supervisor_ends_the_batch_shell_and_leaves_evidence(machine: Machine) -> None:
    job = machine.submit("echo up; exec sleep 1001")
    until(lambda: machine.said("up"), "the start of the job")
    processes = until(lambda: tree(job) if len(tree(job)) == 2 else {}, "its processes")
    os.kill(pid_of(job), signal.SIGKILL)
    until(lambda: not living(processes), "the end of its processes")
    gone = ended(job)
    assert gone.outcome is Outcome.ENDED
    assert "no exit.json" in gone.evidence


def test_a_reused_pid_is_not_our_job(machine: Machine) -> None:
    job = machine.submit("exec sleep 1000")
    pid, ticks, rest = job.id.split(".", 2)
    stranger = Job(id=f"{pid}.{int(ticks) - 1}.{rest}", tag="", session_dir=machine.session)
    gone = poll(stranger)
    assert isinstance(gone, Gone)
    assert "another one" in gone.evidence
    assert local.rps_cancel(stranger) is False
    assert isinstance(poll(job), Known)


def test_a_job_before_the_reboot_is_gone(machine: Machine) -> None:
    job = machine.submit("exec sleep 1000")
    pid, ticks, rest = job.id.split(".", 2)
    before = Job(id=f"{pid}.{ticks}.00000000{rest[8:]}", tag="", session_dir=machine.session)
    gone = poll(before)
    assert isinstance(gone, Gone)
    assert "rebooted" in gone.evidence
    assert local.rps_cancel(before) is False


@pytest.fixture
def bystander(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process of ours that is no supervisor, though it stands where one would."""
    (tmp_path / "session").mkdir(exist_ok=True)
    with subprocess.Popen(["sleep", "1000"], cwd=tmp_path / "session") as process:
        yield process
        process.kill()


def test_a_record_that_names_another_process_of_ours_is_not_believed(
    machine: Machine, bystander: subprocess.Popen[bytes]
) -> None:
    planted = Job(id=job_id(bystander.pid), tag="", session_dir=machine.session)
    gone = poll(planted)
    assert isinstance(gone, Gone)
    assert "another one" in gone.evidence
    assert local.rps_cancel(planted) is False
    assert bystander.poll() is None


def test_a_record_that_names_another_sessions_job_is_not_believed(
    machine: Machine, tmp_path: Path
) -> None:
    job = machine.submit("exec sleep 1000")
    (tmp_path / "other").mkdir()
    planted = Job(id=job.id, tag="", session_dir=tmp_path / "other")
    assert isinstance(poll(planted), Gone)
    assert local.rps_cancel(planted) is False
    assert isinstance(poll(job), Known)


def test_a_session_by_another_path_is_the_same(machine: Machine, tmp_path: Path) -> None:
    job = machine.submit("exec sleep 1000")
    (tmp_path / "link").symlink_to(machine.session)
    assert isinstance(poll(Job(id=job.id, tag="", session_dir=tmp_path / "link")), Known)


def test_a_host_that_was_renamed_keeps_its_jobs(machine: Machine) -> None:
    job = machine.submit("exec sleep 1000")
    before = Job(id=job.id.partition("@")[0] + "@before", tag="", session_dir=machine.session)
    assert isinstance(poll(before), Known)
    assert local.rps_cancel(before) is True
    assert ended(before).outcome is Outcome.CANCELLED
    assert local.rps_cancel(before) is False


def test_another_host_is_asked_there(machine: Machine) -> None:
    job = Job(id="1.2.0123abcd@elsewhere", tag="", session_dir=machine.session)
    status = poll(job)
    assert isinstance(status, Unknown)
    assert "elsewhere" in status.reason
    with pytest.raises(SchedulerError, match="elsewhere"):
        local.rps_cancel(job)


def test_an_id_that_is_none(machine: Machine) -> None:
    job = Job(id="1234.server", tag="", session_dir=machine.session)
    assert isinstance(poll(job), Unknown)
    with pytest.raises(SchedulerError):
        local.rps_cancel(job)


def test_a_supervisor_that_does_not_start(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SchedulerError, match="Could not start"):
        machine.submit("true")


def test_a_log_that_is_a_link_is_refused(machine: Machine, tmp_path: Path) -> None:
    (machine.session / "job.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SchedulerError, match="log"):
        machine.submit("true")
    assert not (tmp_path / "elsewhere").exists()


def test_no_job_without_a_launcher_that_knows_it(machine: Machine) -> None:
    import socket

    (machine.session / "batch.sh").write_text("touch ran\n")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", "rps_core.node.supervisor", str(machine.session)]
        command += ["--walltime", "60", "--handshake", str(theirs.fileno())]
        subprocess.run(command, pass_fds=[theirs.fileno()], check=True)
        theirs.close()
        pid = int(ours.recv(256).partition(b".")[0])
        assert start_ticks(pid) is not None
    until(lambda: start_ticks(pid) is None, "the end of the supervisor")
    assert sorted(path.name for path in machine.session.iterdir()) == ["batch.sh"]


def test_a_launcher_that_dies_before_it_notes_the_id_finds_it(machine: Machine) -> None:
    import socket

    (machine.session / "batch.sh").write_text("exec sleep 1000\n")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", "rps_core.node.supervisor", str(machine.session)]
        command += ["--walltime", "60", "--handshake", str(theirs.fileno())]
        subprocess.run(command, pass_fds=[theirs.fileno()], check=True)
        theirs.close()
        job_id = ours.recv(256).decode()
        note = machine.session / "job-id"
        assert note.read_text() == job_id  # before the launcher confirms
        assert note.stat().st_mode & 0o777 == 0o600
        ours.sendall(b"+")
    job = Job(id=note.read_text(), tag="tag", session_dir=machine.session)
    machine.jobs.append(job)
    assert isinstance(poll(job), Known)
    assert local.rps_cancel(job) is True


LAUNCHER = """
import sys, time
from datetime import timedelta
from pathlib import Path
from rps_core.plugin import Allocation, SessionSpec
from rps_core.schedulers.local import plugin as local
session = Path(sys.argv[1])
spec = SessionSpec(name="n", tag="t", app="lab", template=session, session_dir=session,
                   directory=session, allocation=Allocation(walltime=timedelta(seconds=60)))
print(local.rps_submit(spec, session / "batch.sh"), flush=True)
time.sleep(60)
"""


def test_a_job_outlives_the_terminal(machine: Machine) -> None:
    """The launcher is the leader of a terminal's session, and the terminal goes away."""
    (machine.session / "batch.sh").write_text("exec sleep 1000\n")
    master, slave = pty.openpty()

    def own_terminal() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may have been started by nohup
        os.setsid()
        import fcntl
        import termios

        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(machine.session)],
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=slave,
        preexec_fn=own_terminal,
        text=True,
    ) as launcher:
        os.close(slave)
        assert launcher.stdout is not None
        job = Job(id=launcher.stdout.readline().strip(), tag="", session_dir=machine.session)
        machine.jobs.append(job)
        processes = until(lambda: tree(job) if len(tree(job)) == 2 else {}, "its processes")
        os.close(master)
        assert launcher.wait(30) == -signal.SIGHUP
    assert living(processes) == list(processes)
    pid = pid_of(job)
    assert os.getsid(pid) == pid
    status = Path(f"/proc/{pid}/status").read_text()
    assert f"PPid:\t{launcher.pid}\n" not in status


def test_what_the_supervisor_imports() -> None:
    """Test the imports: each `rps start` starts it."""
    code = "import sys, rps_core.schedulers.local.plugin, rps_core.node.supervised; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not {"asyncio", "ssl", "http.client", "argparse", "ctypes", "sh", "yaml"} & set(loaded)
