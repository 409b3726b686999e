"""The shell that pbs_mom starts in place of the user's login shell."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from rps_core.schedulers.pbs import directives
from rps_core.schedulers.pbs.directives import JOB_SHELL, shell_option, write_job_shell
from tests.stands import mom

SCRIPT = """#!/bin/bash
echo "$$ $PWD $SHELL" >"$OUTPUT"
cat >>"$OUTPUT"
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    write_job_shell(tmp_path)
    path = tmp_path / "batch.sh"
    path.write_text(SCRIPT)
    path.chmod(0o700)
    return path


def run(script: Path, command: str, login_shell: str | None = "/bin/bash") -> list[str]:
    """Return what the script writes: its pid, directory and SHELL."""
    bin_ = script.parent / "bin"
    bin_.mkdir()
    if login_shell is not None:
        (bin_ / "getent").write_text(f"#!/bin/sh\necho 'u:x:0:0:u:/home/u:{login_shell}'\n")
        (bin_ / "getent").chmod(0o755)
    output = script.parent / "output"
    path = f"{bin_}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(script.parent), "OUTPUT": str(output)}
    with mom.job(script.parent / JOB_SHELL, command, environment) as job:
        assert job.shell.wait(60) == 0
        words = output.read_text().split()
        assert words[0] == str(job.shell.pid), "a shell is above the batch script"
    return words[1:]


@pytest.mark.parametrize("shell", ["bash", "sh", "zsh", "fish"])
def test_a_login_shell_starts_the_script_and_becomes_it(script: Path, shell: str) -> None:
    """SHELL is the login shell again, which a notebook's terminals start."""
    path = shutil.which(shell)
    assert path is not None
    assert run(script, str(script), path)[-1] == path


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_warning_does_not_end_a_script_that_loads_modules(script: Path, shell: str) -> None:
    """fish restores the signal, so the packaged scripts ignore it themselves."""
    script.write_text(SCRIPT.replace("\n", "\nkill -USR1 $$\n", 1))
    run(script, str(script), shutil.which(shell))


@pytest.mark.parametrize("name", ["jupyterlab.sh", "notebook.sh"])
def test_a_warning_does_not_end_a_packaged_script(script: Path, name: str) -> None:
    path = shutil.which("fish")
    packaged = (Path(directives.__file__).with_name("batch") / name).read_text()
    (script.parent / "prepare.sh").write_text(f"kill -USR1 $$\n{SCRIPT}")
    (script.parent / "run-agent.sh").write_text("exit 0\n")
    session = f"RPS_SESSION={shlex.quote(str(script.parent))}"
    script.write_text(packaged.replace("# rps: session", session))
    run(script, str(script), path)


def test_the_login_shell_reads_its_profile(script: Path) -> None:
    (script.parent / ".bash_profile").write_text("cd /usr\n")
    assert run(script, str(script)) == ["/usr", "/bin/bash"]


@pytest.mark.parametrize("login_shell", ["", "/nowhere/shell"])
def test_without_a_login_shell_it_is_bash(script: Path, login_shell: str) -> None:
    assert run(script, str(script), login_shell)[-1] == "/bin/bash"


def test_what_mom_writes_besides_a_path(script: Path) -> None:
    """`exec`: $exec_with_exec of Torque. `cd` and a backslash before brackets: PBS."""
    other = script.with_name("1[2].SC")
    shutil.copy(script, other)
    escaped = str(other).replace("[", r"\[").replace("]", r"\]")
    assert run(script, f"cd /usr/bin;{escaped}") == ["/usr/bin", "/bin/bash"]
    shutil.rmtree(script.parent / "bin")
    assert run(script, f"exec {script}")[-1] == "/bin/bash"


def test_a_script_on_the_standard_input_is_the_sessions(script: Path) -> None:
    """Torque that was built with --disable-shell-pipe."""
    assert run(script, SCRIPT)[-1] == "/bin/bash"


def test_a_script_as_the_argument(script: Path) -> None:
    """Torque that was built with --enable-shell-use-argv."""
    output = script.parent / "output"
    environment = {**os.environ, "OUTPUT": str(output)}
    shell = script.parent / JOB_SHELL
    subprocess.run([shell, script], stdin=subprocess.DEVNULL, env=environment, check=True)
    assert len(output.read_text().split()) == 3


def test_it_is_for_its_owner_alone_and_replaced_by_a_second_submission(tmp_path: Path) -> None:
    write_job_shell(tmp_path)
    (tmp_path / JOB_SHELL).chmod(0o644)
    write_job_shell(tmp_path)
    assert (tmp_path / JOB_SHELL).stat().st_mode & 0o7777 == 0o700
    assert shell_option(tmp_path) == [f"-S {tmp_path / JOB_SHELL}"]


def test_where_nothing_can_be_executed_there_is_no_shell_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoExecution:
        f_flag = os.ST_NOEXEC

    monkeypatch.setattr(os, "statvfs", lambda path: NoExecution)
    assert shell_option(tmp_path / "not" / "there") == []
