"""Checks that are made before anybody is asked for anything."""

import os
import re
import sys
from pathlib import Path

import pytest

from rps_core.cluster import ClusterContext
from rps_core.config import settings
from rps_core.errors import UsageError
from rps_core.hooks.manager import Plugins
from rps_core.launch import plan as planning
from rps_core.system.shell import Finished


def no_shell(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
    raise AssertionError(f"a scheduler was asked: {argv}")


def plan(**options: object) -> planning.Plan:
    return planning.plan(context(**options))


def context(**options: object) -> ClusterContext:
    plugins = Plugins.load()
    cluster = next(found for found in plugins.clusters() if found.name == "local")
    site = plugins.site(cluster)
    keys = {key.replace("__", "."): value for key, value in options.items()}
    loaded = settings.load(
        "local",
        site.scheduler_config(),
        site.site_config(),
        environment={},
        given=settings.Overrides(options=keys),
    )
    return ClusterContext(site, (), loaded, shell=no_shell)


def environment(home: Path, name: str, *programs: str) -> Path:
    place = home / "envs" / name
    (place / "bin").mkdir(parents=True)
    (place / "conda-meta").mkdir()
    (place / "conda-meta" / "python-3.12.4-h194c7f8_0_cpython.json").touch()
    for program in ("python", *programs):
        (place / "bin" / program).touch(0o755)
    listed = home / ".conda" / "environments.txt"
    listed.parent.mkdir(exist_ok=True)
    with listed.open("a") as stream:
        stream.write(f"{place}\n")
    return place


def test_a_conda_environment_is_looked_into_where_it_can_be_found() -> None:
    home = Path(os.environ["HOME"])
    good = environment(home, "good", "jupyter", "jupyter-lab")
    empty = environment(home, "empty")
    for name in ("good", str(good)):
        chosen = plan(notebook__conda_env=name).environment
        assert (chosen.jupyter, chosen.conda_env) == (f"{good}/bin/jupyter", str(good))
    assert plan(notebook__conda_env="known-on-the-node-only").environment.jupyter == "jupyter"
    for name in ("empty", str(empty)):
        with pytest.raises(UsageError, match="has no kernel") as caught:
            plan(notebook__conda_env=name)
        assert f"conda install --yes --prefix {empty} -c conda-forge ipykernel" in caught.value.hint
    with pytest.raises(UsageError, match="environment not found"):
        plan(notebook__conda_env="/nowhere/env")


def test_an_idle_time_is_not_called_a_walltime() -> None:
    with pytest.raises(UsageError, match="The duration `0` is zero"):
        plan(notebook__idle_timeout="0")


def test_a_fault_of_the_program_that_was_named_is_reported() -> None:
    home = Path(os.environ["HOME"])
    (home / "jupyter").touch(0o644)
    for named, message in (
        ("~/nothing", f"program not found: {home}/nothing"),
        (str(home), f"{home} is a directory"),
        ("~/jupyter", f"{home}/jupyter is not executable"),
        ("no-such-jupyter", "`no-such-jupyter` not found on the PATH"),
    ):
        with pytest.raises(UsageError, match=re.escape(message)) as caught:
            plan(notebook__jupyter=named)
        assert "Give the path of Jupyter's program" in caught.value.hint
    # Where the job makes its own environment, the program may be there alone.
    made = plan(notebook__jupyter="~/nothing", notebook__modules=["anaconda"])
    assert made.environment.jupyter == f"{home}/nothing"


@pytest.mark.parametrize(
    "head",
    ["#!/gone/bin/python\n", "#! /gone/bin/python -I\n",
     "#!/bin/sh\n''" "'exec' \"/gone/bin/python\" \"$0\" \"$@\"\n",
     "#!/bin/sh\n''" "'exec' /gone/bin/python \"$0\" \"$@\"\n"],
)  # fmt: skip
def test_a_jupyter_whose_python_is_gone_is_refused(head: str) -> None:
    """Test a system upgrade, or a conda environment that was renamed."""
    jupyter = Path(os.environ["HOME"]) / "bin" / "jupyter"
    jupyter.parent.mkdir()
    for program in (jupyter, jupyter.with_name("jupyter-lab")):
        program.write_text(head)
        program.chmod(0o755)
    with pytest.raises(UsageError, match="needs /gone/bin/python, which does not exist"):
        plan(notebook__jupyter=str(jupyter))


def test_a_directory_may_be_read_only() -> None:
    """`-d /` reaches every file system."""
    assert plan(notebook__directory="/").directory == Path("/")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("notebook__port_range", [40000, 20000]),
        ("notebook__port_range", [80, 90]),
        ("notebook__port_range", [30000]),
        ("notebook__start_timeout", -1),
        ("notebook__origins", ["http://a.example"]),
        ("scheduler__poll_interval", 0),
        ("keep_ended", "nan"),
        ("proxy__timeout", 0),
        ("proxy__port", 99999),
        ("proxy__domain", "exa mple"),
        ("job__gpus", -1),
        ("notebook__directory", "~nosuchuserhere"),
    ],
)
def test_a_value_out_of_range_is_refused(key: str, value: object) -> None:
    with pytest.raises(UsageError):
        plan(**{key: value})


def test_a_prologue_a_container_and_modules_are_taken_along(tmp_path: Path) -> None:
    prologue = tmp_path / "before.sh"
    prologue.write_text("export GREETING=hello\n")
    image = tmp_path / "image.sif"
    image.touch()
    found = plan(
        notebook__prologue=str(prologue), notebook__image=str(image), notebook__bind=["/scratch"],
        notebook__nv=True,
    )  # fmt: skip
    assert found.prologue == "export GREETING=hello\n"
    assert found.container == ("--nv", "--bind", "/scratch", str(image))
    assert plan(notebook__image="docker://x/y").container == ("docker://x/y",)


def test_a_job_with_an_environment_of_its_own_keeps_the_jupyter_that_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test `--prologue` with `export OMP_NUM_THREADS=1`, and each other environment."""
    for name in ("jupyter", "jupyter-lab"):
        (tmp_path / name).write_text(f"#!{sys.executable}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "before.sh").write_text("export OMP_NUM_THREADS=1\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    jupyter = str(tmp_path / "jupyter")
    bare = plan().environment
    assert (bare.jupyter, bare.fallback) == (jupyter, None)
    for options in (
        {"notebook__prologue": str(tmp_path / "before.sh")},
        {"notebook__modules": ["cuda"]},
        {"notebook__conda_env": "known-on-the-node-only"},
        {"notebook__image": "docker://x/y"},
    ):
        found = plan(**options).environment
        assert (found.jupyter, found.fallback) == ("jupyter", jupyter)
        # It may be of the node alone.
        named = plan(**options, notebook__jupyter="/opt/jupyter").environment
        assert (named.jupyter, named.fallback) == ("/opt/jupyter", None)
    (tmp_path / "jupyter").write_text("#!/gone/bin/python\n")
    broken = plan(notebook__modules=["anaconda"]).environment
    own = str(Path(sys.executable).with_name("jupyter"))
    assert (broken.jupyter, broken.fallback) == ("jupyter", own)


def test_a_session_may_end_when_nothing_works() -> None:
    assert plan().idle_timeout is None
    assert plan(notebook__idle_timeout="90").idle_timeout == 5400
    assert plan(notebook__idle_timeout="0:00:20", limits__idle_timeout="30").idle_timeout == 20


@pytest.mark.parametrize("given", [{}, {"notebook__idle_timeout": "31"}])
def test_the_site_may_insist_on_that(given: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="an idle timeout of at most 00:30:00") as caught:
        plan(limits__idle_timeout="30", **given)
    assert "--idle 30" in caught.value.hint


def test_what_the_command_line_set_is_distinguished_from_what_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test PBS: --reservation replaces a configured queue, but not one of the command."""
    monkeypatch.setenv("RPS_SYSTEM_CONFIG", str(tmp_path / "site.yaml"))
    (tmp_path / "site.yaml").write_text("job: {partition: workq}\n")
    allocation = planning.requested(context(job__reservation="R1").loaded)
    assert (allocation.partition, allocation.reservation) == ("workq", "R1")
    assert allocation.given == {"reservation"}
