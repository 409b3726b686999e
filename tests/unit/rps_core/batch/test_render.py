"""Batch scripts: static files plus directives; user input is never shell text."""

from datetime import timedelta
from pathlib import Path

import pytest

from rps_core.batch.render import ONLY_OURS, render
from rps_core.errors import UsageError
from rps_core.hooks.manager import Plugins
from rps_core.launch import plan as planning
from rps_core.models import Allocation, Cluster, SessionSpec
from rps_core.schedulers.slurm import directives as slurm_directives

CORE = Path(planning.__file__).parents[1]
BATCH = CORE / "batch"
TEMPLATES = [
    *(BATCH / name for name in planning.APPS.values()),
    *CORE.glob("schedulers/*/batch/*.sh"),
]


def session_spec(**changes: object) -> SessionSpec:
    asked: dict[str, object] = {"walltime": timedelta(hours=30), **changes}
    return SessionSpec(
        name="one-two-three",
        tag="rps:one-two-three:0a0b0c0d",
        app="lab",
        template=BATCH / "jupyterlab.sh",
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


def test_there_is_a_template_for_each_application_under_each_scheduler() -> None:
    for scheduler in Plugins.load().schedulers:
        cluster = Cluster(name="x", site="generic", scheduler=scheduler)
        directory = planning.templates(Plugins.load().site(cluster))
        assert {directory / name for name in planning.APPS.values()} <= set(TEMPLATES)


@pytest.mark.parametrize("bad", ["--a\n--b", "--a\rb", "--a\0b", "--a\x1b[0m"])
def test_a_directive_is_one_line(bad: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="line break or a control character"):
        render(BATCH / "notebook.sh", [bad], tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\x7fELF\x02\x01", "not a shell script"), (b"#!/bin/sh\n\xff\xfe", "not a text file"),
     (b"", "first line"), (b"\n#!/bin/sh\n", "first line"),
     (b"echo no first line", "first line"), (b"#!/bin/sh\n\0", "not a shell script")],
)  # fmt: skip
def test_a_batch_script_that_is_none_is_refused(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.sh"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        render(path, [], tmp_path)


def test_templates_are_found_by_name_or_path(tmp_path: Path) -> None:
    slurm, torque, local = (
        Plugins.load().site(Cluster(name="x", site="generic", scheduler=name))
        for name in ("slurm", "torque", "local")
    )
    found = planning.find_template("slurm/notebook.sh", slurm)
    assert "#SBATCH" in found.read_text()
    assert planning.find_template("local/notebook.sh", local) != found
    with pytest.raises(UsageError, match=r"is for slurm, but this cluster runs torque"):
        planning.find_template("slurm/notebook.sh", torque)
    own = tmp_path / "mine.sh"
    own.write_text("#!/bin/bash\n")
    assert planning.find_template(str(own), slurm) == own
    for bad in (
        "nowhere.sh",
        "../planning.py",
        "slurm/../plugin.py",
        "slurm/",
        "slurm/..",
        str(tmp_path),
    ):
        with pytest.raises(UsageError, match="batch script not found"):
            planning.find_template(bad, slurm)


def test_line_ends_of_windows_become_the_shells(tmp_path: Path) -> None:
    own = tmp_path / "mine.sh"
    own.write_bytes(b"#!/bin/bash\r\n#SBATCH --exclusive\r\necho hello\r\n")
    assert "\r" not in render(own, [], Path("/s"))


def test_a_users_script_keeps_its_directives(tmp_path: Path) -> None:
    own = tmp_path / "mine.sh"
    own.write_text(
        "#!/bin/bash\n# mine\n#SBATCH --exclusive\n\n#SBATCH --mail-type=END\necho hello\n"
    )
    lines = render(own, ["#SBATCH --time=1"], Path("/s")).splitlines()
    assert lines == [
        "#!/bin/bash", "#SBATCH --time=1", "# mine", "#SBATCH --exclusive", "", "#SBATCH --mail-type=END",
        "RPS_SESSION=/s", ONLY_OURS, "echo hello",
    ]  # fmt: skip
