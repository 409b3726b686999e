"""Environments that the job builds, or copies to its node's own disk, with the real uv and Jupyter."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rps_core.environment import kernel, prefix
from rps_core.environment.made import order
from rps_core.node.agent.processes import start_ticks
from tests.stands import conda_channel, conda_programs, wheels
from tests.stands.agent import StandIn, agent, event, events, make_session, stand_in
from tests.stands.jupyter import execute, new_kernel
from tests.stands.waiting import until

WHERE = "import sys, six; print(sys.prefix)"


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[StandIn]:
    with stand_in(tmp_path / "service") as stand:
        yield stand


@pytest.fixture(autouse=True)
def _tools(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    downloaded = wheels.shared(tmp_path_factory)
    for name, value in wheels.offline(downloaded).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def ordered(tmp_path: Path, *packages: str) -> dict[str, object]:
    """Return the entry `build` of launch.json."""
    return {"recipe": order.recipe(None, packages).values(), "cache": str(tmp_path / "cache é")}


def end_of(session: Path) -> dict[str, object]:
    return until(lambda: events(session, "ended"), "the session's end")[0]


def test_the_job_builds_it_once_and_offers_its_kernel(tmp_path: Path, stand: StandIn) -> None:
    for number in range(2):
        session = make_session(tmp_path / f"session{number}", stand, build=ordered(tmp_path, "six"))
        with agent(session):
            event(session, "ready")
            built = event(session, "built")
            assert execute(session, new_kernel(session, stand), WHERE) == f"{built['prefix']}\n"
        assert built["prefix"].startswith(str(tmp_path / "cache é"))
        until(lambda: ("job", {"state": "running"}) in stand.calls, "the report of the build's end")
        reports = [body for call, body in stand.calls if call == "job"]
        assert reports[0] == {"state": "running", "reason": "building"}
        # The second session finds it.
        assert bool(events(session, "building")) == (number == 0)
        log = (session / "job.log").read_text()
        assert ("environment: make a venv" in log) == (number == 0)
        assert f"environment: {built['prefix']}" in log


def test_one_that_cannot_be_built_ends_the_session_with_the_lines_of_its_tool(
    tmp_path: Path, stand: StandIn
) -> None:
    build = ordered(tmp_path, "no-such-package-of-rps")
    session = make_session(tmp_path / "session", stand, build=build)
    with agent(session) as process:
        end = end_of(session)
        assert process.wait() == 1
    assert end["cause"] == "start-failed"
    assert "Cannot build the environment no-such-package-of-rps: uv could not install" in str(
        end["reason"]
    )
    assert "No solution found" in (session / "job.log").read_text()
    assert list((tmp_path / "cache é").iterdir()) == []


def test_a_job_that_ends_during_a_build_leaves_nothing_of_it(
    tmp_path: Path, stand: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in wheels.slow_project(tmp_path).items():
        monkeypatch.setenv(name, value)
    recipe = order.recipe(str(tmp_path / "slow" / "pyproject.toml"), [])
    build = {"recipe": recipe.values(), "cache": str(tmp_path / "cache")}
    session = make_session(tmp_path / "session", stand, build=build)
    builds = tmp_path / "builds"
    with agent(session) as process:
        until(lambda: builds.exists() and builds.read_text().endswith("\n"), "the build")
        process.terminate()
        assert process.wait() == 0
    assert end_of(session)["cause"] == "signal"
    assert list((tmp_path / "cache").iterdir()) == []
    assert start_ticks(int(builds.read_text())) is None


def test_a_recipe_that_was_damaged_is_none(tmp_path: Path, stand: StandIn) -> None:
    build = ordered(tmp_path, "six")
    recipe = build["recipe"]
    assert isinstance(recipe, dict)
    recipe["key"] = "../../elsewhere"
    session = make_session(tmp_path / "session", stand, build=build)
    with agent(session):
        assert "damaged" in str(end_of(session)["reason"])


def test_a_copy_on_the_nodes_own_disk_is_used_and_removed(
    tmp_path: Path, stand: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "own $disk"
    disk.mkdir()
    monkeypatch.setenv("RPS_TEST_DISK", str(disk))
    session = make_session(
        tmp_path / "session", stand, build=ordered(tmp_path, "six"), copy_to="$RPS_TEST_DISK"
    )
    with agent(session) as process:
        event(session, "ready")
        place = execute(session, new_kernel(session, stand), WHERE).strip()
        assert Path(place).is_relative_to(disk)
        assert (disk / f"rps-{session_name(session)}").stat().st_mode & 0o777 == 0o700
        variable = execute(
            session, new_kernel(session, stand), "import os; print(os.environ['VIRTUAL_ENV'])"
        )
        assert variable.strip() == place
        process.terminate()
        process.wait()
    assert list(disk.iterdir()) == []


def session_name(session: Path) -> str:
    import json

    return str(json.loads((session / "launch.json").read_text())["name"])


def test_without_the_disk_the_environment_is_used_where_it_is(
    tmp_path: Path, stand: StandIn
) -> None:
    """The directory is not there, or what is there is another user's."""
    taken = tmp_path / "taken"
    taken.mkdir()
    session = make_session(
        tmp_path / "session", stand, build=ordered(tmp_path, "six"), copy_to=str(taken)
    )
    (taken / f"rps-{session_name(session)}").mkdir()
    with agent(session) as process:
        event(session, "ready")
        prefix = event(session, "built")["prefix"]
        assert execute(session, new_kernel(session, stand), WHERE).strip() == prefix
        process.terminate()
        process.wait()
    assert f"environment: not copied to {taken}: File exists" in (session / "job.log").read_text()
    assert [path.name for path in taken.iterdir()] == [f"rps-{session_name(session)}"]


def test_a_conda_environment_that_the_job_builds_is_active_in_its_kernels(
    tmp_path: Path, stand: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built by a stand-in for micromamba, from a channel that rattler reads."""
    channel = conda_channel.write(tmp_path / "alias" / "conda-forge")
    programs = conda_programs.install(tmp_path / "programs", "micromamba")
    for name, value in {
        "PATH": f"{programs}:{os.environ['PATH']}", "RPS_TEST_COMMANDS": str(tmp_path / "commands"),
        "RATTLER_CACHE_DIR": str(tmp_path / "packages"), "MAMBA_CHANNEL_ALIAS": channel.parent.as_uri(),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    file = tmp_path / "environment.yml"
    file.write_text(
        "channels: [conda-forge]\ndependencies: [python, six, gdal-data]\nvariables: {WORD: it's}\n"
    )
    build = {"recipe": order.recipe(str(file), []).values(), "cache": str(tmp_path / "cache é")}
    session = make_session(tmp_path / "session", stand, build=build)
    names = ("CONDA_PREFIX", "GDAL_DATA", "WORD")
    code = f"import os, sys, six; print(sys.prefix, *map(os.environ.get, {names}))"
    with agent(session):
        event(session, "ready")
        place = event(session, "built")["prefix"]
        ran = execute(session, new_kernel(session, stand), code)
    assert ran == f"{place} {place} {place}/share/gdal it's\n"


def test_r_of_a_conda_environment_runs_in_a_session(
    tmp_path: Path, stand: StandIn, monkeypatch: pytest.MonkeyPatch, need: Callable[[str], str]
) -> None:
    """Test Debian's R and IRkernel, where the environment has its R."""
    r = "/usr/bin/R"  # the PATH of these tests is that of a bare node
    need(r)
    monkeypatch.setenv("RATTLER_CACHE_DIR", str(tmp_path / "packages"))
    place = conda_channel.make(
        tmp_path / "r $(touch x) é", conda_channel.write(tmp_path / "channel"), "r-irkernel"
    )
    (place / "bin" / "R").unlink()
    (place / "bin" / "R").write_text(f'#!/bin/sh\nTEST_R=ours exec {r} "$@"\n')
    (place / "bin" / "R").chmod(0o755)
    offered = kernel.first(prefix.read(place, "--venv"), "r")
    assert offered is not None
    session = make_session(tmp_path / "session", stand, kernel=offered.as_json())
    code = 'cat(Sys.getenv("TEST_R"), Sys.getenv("CONDA_PREFIX"), R.version$language, "\\n")'
    with agent(session):
        event(session, "ready")
        assert execute(session, new_kernel(session, stand, "ir"), code) == f"ours {place} R \n"


def test_a_kernel_for_another_machine_ends_the_session_before_its_server_starts(
    tmp_path: Path, stand: StandIn
) -> None:
    """Test a home that nodes of several kinds share: the head of an ELF file of a big-endian MIPS (elf.h)."""
    python = tmp_path / "it's $(touch x) é" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_bytes(b"\x7fELF\x02\x02\x01" + bytes(9) + b"\x00\x02\x00\x08")
    python.chmod(0o755)
    spec = kernel.Kernel(
        name="python3", display_name="v", language="python", argv=(str(python), "-f"), env={}
    )
    session = make_session(tmp_path / "session", stand, kernel=spec.as_json())
    with agent(session):
        end = end_of(session)
    node = os.uname()
    reason = (
        f"`{python}` is for another machine (8), and this node, {node.nodename}, is {node.machine}"
    )
    assert (end["cause"], end["reason"]) == ("start-failed", reason)
    assert not events(session, "application")
