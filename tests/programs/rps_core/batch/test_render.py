"""Batch scripts, run by a shell: the session's path is never shell text."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rps_core.batch.render import ONLY_OURS, render
from rps_core.launch import plan as planning

CORE = Path(planning.__file__).parents[1]
BATCH = CORE / "batch"
TEMPLATES = sorted(
    [
        *(BATCH / name for name in planning.APPS.values()),
        *CORE.glob("schedulers/*/batch/*.sh"),
    ]
)


def id_of(template: Path) -> str:
    return str(template.relative_to(CORE))


@pytest.mark.parametrize("template", TEMPLATES, ids=id_of)
def test_each_template_keeps_its_text_and_gets_the_session(template: Path, tmp_path: Path) -> None:
    session = tmp_path / "it's a $(touch x) `dir`"
    session.mkdir()
    rendered = render(template, ["#X --one", "#X --two"], session)
    lines = rendered.splitlines()
    original = template.read_text().splitlines()
    assert lines[0] == original[0]
    assert lines[1:3] == ["#X --one", "#X --two"]
    kept = [line for line in lines if not line.startswith(("#X", "RPS_SESSION="))]
    assert (
        kept.pop(kept.index(ONLY_OURS))
        == lines[lines.index(f"RPS_SESSION={shlex.quote(str(session))}") + 1]
    )
    assert kept == [line for line in original if line != "# rps: session"]
    # What the script really runs, as a run-agent.sh of the test prints it.
    shutil.copy(BATCH / "prepare.sh", session)
    for name in ("modules", "conda-env"):
        (session / name).write_text("")
    (session / "run-agent.sh").write_text(
        'printf "%s\\n" "${SLURM_EXPORT_ENV-its steps get the environment}" "$0" "$@"\n'
    )
    script = tmp_path / "batch.sh"
    script.write_text(rendered)
    elsewhere = tmp_path / "home"  # Torque starts a job in the home directory
    done = subprocess.run(
        ["bash", script], capture_output=True, text=True, check=True, cwd=elsewhere,
        env={**os.environ, "SLURM_EXPORT_ENV": "NONE"},
    )  # fmt: skip
    app = "lab" if template.name == "jupyterlab.sh" else "notebook"
    printed = done.stdout
    scheduler = template.parents[1].name
    if scheduler == "pbs":  # Torque and PBS deliver output at the end: the script writes the log
        assert printed == ""
        printed = (session / "job.log").read_text()
    exported, *agent = printed.splitlines()[-4:]
    assert agent == [str(session / "run-agent.sh"), "--app", app]
    if scheduler == "slurm":
        assert exported == "its steps get the environment"
    assert not (tmp_path / "x").exists()


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_characters="\0/\n\r", exclude_categories=["Cs"]), min_size=1))
def test_no_path_reaches_the_shell_as_code(name: str) -> None:
    session = Path("/tmp") / name
    rendered = render(BATCH / "notebook.sh", [], session)
    line = next(line for line in rendered.split("\n") if line.startswith("RPS_SESSION="))
    shown = rendered[rendered.index(line) :].partition(f"\n{ONLY_OURS}\n")[0]
    done = subprocess.run(
        ["bash", "-c", shown + '\nprintf %s "$RPS_SESSION"'],
        capture_output=True,
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": "/"},
    )
    assert os.fsdecode(done.stdout) == str(session)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
@pytest.mark.parametrize("interpreter", ["bash", "dash"])
def test_a_job_runs_nothing_from_a_directory_of_another_user(
    interpreter: str, tmp_path: Path, need: Callable[[str], str]
) -> None:
    """Test a node without the session's directory, where others can write above it."""
    session = tmp_path / "session"
    session.mkdir()
    (session / "run-agent.sh").write_text("echo run by the job\n")
    own = tmp_path / "mine.sh"
    own.write_text('#!/bin/sh\nexec /bin/sh "$RPS_SESSION/run-agent.sh" --app lab\n')
    command = [need(interpreter), "-c", render(own, [], session)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "run by the job\n"
    for place in (session, session / "not-there"):
        os.chown(session, 12345, -1)
        command = [interpreter, "-c", render(own, [], place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr == f"rps: {place} is not yours on this node\n"
