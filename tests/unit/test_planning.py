"""Checks that are made before anybody is asked for anything."""

import os
import re
from pathlib import Path

import pytest

from rps_core import planning, settings
from rps_core.cluster import Here
from rps_core.errors import UsageError
from rps_core.plugins import Plugins
from rps_core.shell import Finished


def no_shell(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
    raise AssertionError(f"a scheduler was asked: {argv}")


def plan(**options: object) -> planning.Plan:
    plugins = Plugins.load()
    cluster = next(found for found in plugins.clusters() if found.name == "local")
    site = plugins.site(cluster)
    keys = {key.replace("__", "."): value for key, value in options.items()}
    loaded = settings.load(
        "local",
        site.scheduler_config(),
        site.site_config(),
        environment={},
        given=settings.Given(options=keys),
    )
    return planning.plan(Here(site, (), loaded), no_shell)


def environment(home: Path, name: str, *programs: str) -> Path:
    place = home / "envs" / name
    (place / "bin").mkdir(parents=True)
    for program in programs:
        (place / "bin" / program).touch()
    listed = home / ".conda" / "environments.txt"
    listed.parent.mkdir(exist_ok=True)
    with listed.open("a") as stream:
        stream.write(f"{place}\n")
    return place


def test_a_conda_environment_is_looked_into_where_it_can_be_found() -> None:
    home = Path(os.environ["HOME"])
    good = environment(home, "good", "jupyter", "jupyter-lab")
    empty = environment(home, "empty")
    for name in ("good", str(good), "known-on-the-node-only"):
        assert plan(notebook__conda_env=name).jupyter == "jupyter"
    for name in ("empty", str(empty)):
        with pytest.raises(UsageError, match="has no `jupyter-lab`") as caught:
            plan(notebook__conda_env=name)
        assert "pip install" in caught.value.hint
    with pytest.raises(UsageError, match="there is no environment"):
        plan(notebook__conda_env="/nowhere/env")


def test_an_idle_time_is_not_called_a_walltime() -> None:
    with pytest.raises(UsageError, match="A length of time of `0` is no time at all"):
        plan(notebook__idle_timeout="0")


def test_what_is_wrong_with_the_program_that_was_named_is_told() -> None:
    home = Path(os.environ["HOME"])
    (home / "jupyter").touch(0o644)
    for named, told in (
        ("~/nothing", f"there is no program {home}/nothing"),
        (str(home), f"{home} is a directory"),
        ("~/jupyter", f"you may not run {home}/jupyter: it is not executable"),
        ("no-such-jupyter", "there is no `no-such-jupyter` on the PATH"),
    ):
        with pytest.raises(UsageError, match=re.escape(told)) as caught:
            plan(notebook__jupyter=named)
        assert ("`notebook.jupyter` is the path" in caught.value.hint) == ("/" in named)
    # Where the job makes its own environment, the program may be there alone.
    made = plan(notebook__jupyter="~/nothing", notebook__modules=["anaconda"])
    assert made.jupyter == f"{home}/nothing"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("notebook__port_range", [40000, 20000]),
        ("notebook__port_range", [80, 90]),
        ("notebook__port_range", [30000]),
        ("notebook__start_timeout", -1),
        ("scheduler__poll_interval", 0),
        ("keep_ended", "nan"),
        ("proxy__timeout", 0),
        ("proxy__port", 99999),
        ("proxy__domain", "exa mple"),
        ("job__gpus", 0),
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


def test_a_session_may_end_when_nothing_works() -> None:
    assert plan().idle_timeout is None
    assert plan(notebook__idle_timeout="90").idle_timeout == 5400
    assert plan(notebook__idle_timeout="0:00:20", limits__idle_timeout="30").idle_timeout == 20


@pytest.mark.parametrize("given", [{}, {"notebook__idle_timeout": "31"}])
def test_the_site_may_insist_on_that(given: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="after at most 00:30:00 without work") as caught:
        plan(limits__idle_timeout="30", **given)
    assert "--idle 30" in caught.value.hint
