"""Batch scripts: static files plus directives; what a user types is never shell text."""

import os
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rps_core import planning
from rps_core.errors import UsageError
from rps_core.models import Allocation, SessionSpec
from rps_core.rendering import render
from rps_core.schedulers import slurm_directives

BATCH = Path(planning.__file__).parent / "batch"
TEMPLATES = sorted(path for path in BATCH.glob("*/*.sh"))


def session_spec(**changes: object) -> SessionSpec:
    asked: dict[str, object] = {"walltime": timedelta(hours=30), **changes}
    return SessionSpec(
        name="one-two-three",
        tag="rps:one-two-three:0a0b0c0d",
        app="lab",
        template=BATCH / "slurm" / "jupyterlab.sh",
        session_dir=Path("/home/alice/.local/state/rps/sessions/one-two-three"),
        directory=Path("/home/alice"),
        allocation=Allocation(**asked),  # type: ignore[arg-type]
    )


def test_slurm_directives_for_everything_that_can_be_asked() -> None:
    spec = session_spec(
        account="abc123", partition="gpu-shared", qos="high", reservation="course",
        constraint="a&b", nodes=2, tasks=3, cpus=4, gpus=1, memory_mb=2048,
        directives=("--exclusive",),
    )  # fmt: skip
    assert list(slurm_directives.directives(spec)) == [
        "--job-name=rps-one-two-three",
        "--comment=rps:one-two-three:0a0b0c0d",
        "--time=1-06:00:00",
        "--nodes=2",
        "--ntasks-per-node=3",
        "--account=abc123",
        "--partition=gpu-shared",
        "--qos=high",
        "--reservation=course",
        "--constraint=a&b",
        "--cpus-per-task=4",
        "--mem=2048M",
        "--gres=gpu:1",
        "--no-requeue",
        "--export=NONE",
        "--output=/home/alice/.local/state/rps/sessions/one-two-three/job.log",
        "--open-mode=append",
        "--exclusive",
    ]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_each_template_keeps_its_text_and_gets_the_session(template: Path, tmp_path: Path) -> None:
    session = tmp_path / "it's a $(touch x) `dir`"
    session.mkdir()
    rendered = render(template, ["#X --one", "#X --two"], session)
    lines = rendered.splitlines()
    original = template.read_text().splitlines()
    assert lines[0] == original[0]
    assert lines[1:3] == ["#X --one", "#X --two"]
    kept = [line for line in lines if not line.startswith(("#X", "RPS_SESSION="))]
    assert kept == [line for line in original if line != "# rps: session"]
    # What the script really runs, seen by a run-agent.sh that tells.
    shutil.copy(BATCH / "prepare.sh", session)
    for name in ("modules", "conda-env"):
        (session / name).write_text("")
    (session / "run-agent.sh").write_text('printf "%s\\n" "$0" "$@"\n')
    script = tmp_path / "batch.sh"
    script.write_text(rendered)
    done = subprocess.run(
        ["bash", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    app = "lab" if template.name == "jupyterlab.sh" else "notebook"
    # Under Torque the script itself writes to the log, since Torque delivers output at the end.
    log = session / "job.log"
    printed = log.read_text() if log.exists() else done.stdout
    assert printed.splitlines()[-3:] == [str(session / "run-agent.sh"), "--app", app]
    assert not (tmp_path / "x").exists()


def test_there_is_a_template_for_each_application_under_each_scheduler() -> None:
    schedulers = {path.parent.name for path in TEMPLATES}
    assert {"local", "slurm"} <= schedulers
    for scheduler in schedulers:
        assert {path.name for path in (BATCH / scheduler).iterdir()} == set(planning.APPS.values())


@pytest.mark.parametrize("bad", ["--a\n--b", "--a\rb", "--a\0b", "--a\x1b[0m"])
def test_a_directive_is_one_line(bad: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="line break or a control character"):
        render(BATCH / "slurm" / "notebook.sh", [bad], tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_characters="\0/\n\r", exclude_categories=["Cs"]), min_size=1))
def test_no_path_reaches_the_shell_as_code(name: str) -> None:
    session = Path("/tmp") / name
    rendered = render(BATCH / "slurm" / "notebook.sh", [], session)
    line = next(line for line in rendered.split("\n") if line.startswith("RPS_SESSION="))
    shown = rendered[rendered.index(line) :].partition("\n\n")[0]
    done = subprocess.run(
        ["bash", "-c", shown + '\nprintf %s "$RPS_SESSION"'],
        capture_output=True,
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": "/"},
    )
    assert os.fsdecode(done.stdout) == str(session)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"\x7fELF\x02\x01", "not a shell script"), (b"#!/bin/sh\n\xff\xfe", "not a text file"),
     (b"echo no first line", "first line"), (b"#!/bin/sh\n\0", "not a shell script")],
)  # fmt: skip
def test_a_batch_script_that_is_none_is_refused(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.sh"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=told):
        render(path, [], tmp_path)


def test_templates_are_found_by_name_or_path(tmp_path: Path) -> None:
    assert planning.find_template("slurm/notebook.sh", "slurm").parent.name == "slurm"
    with pytest.raises(UsageError, match=r"is for slurm; this cluster runs torque"):
        planning.find_template("slurm/notebook.sh", "torque")
    own = tmp_path / "mine.sh"
    own.write_text("#!/bin/bash\n")
    assert planning.find_template(str(own), "slurm") == own
    for bad in ("nowhere.sh", "../planning.py", str(tmp_path)):
        with pytest.raises(UsageError, match="There is no batch script"):
            planning.find_template(bad, "slurm")


def test_a_script_of_ones_own_keeps_its_directives(tmp_path: Path) -> None:
    own = tmp_path / "mine.sh"
    own.write_text(
        "#!/bin/bash\n# mine\n#SBATCH --exclusive\n\n#SBATCH --mail-type=END\necho hello\n"
    )
    lines = render(own, ["#SBATCH --time=1"], Path("/s")).splitlines()
    assert lines == [
        "#!/bin/bash", "#SBATCH --time=1", "# mine", "#SBATCH --exclusive", "", "#SBATCH --mail-type=END",
        "RPS_SESSION=/s", "echo hello",
    ]  # fmt: skip
