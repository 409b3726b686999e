"""Environments made to order, by the real uv and the real pip."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rps_core.environment.made import here, order, place
from rps_core.errors import EnvironmentBuildError
from rps_core.node.agent.processes import start_ticks
from rps_core.node.builder.cache import Cache
from rps_core.node.builder.recipe import Recipe
from rps_core.system.signals import DeferredSignals
from tests.stands import wheels
from tests.stands.namespaces import own_mounts, own_network, small_disk
from tests.stands.waiting import until

# Quotes, blanks, what a shell would run, and a character that is not ASCII.
ODD = "p é $(touch x) '\" `id`"
TOOL_PATH = Path(sys.executable).parent  # uv, as locks/dev.txt has it


@pytest.fixture(autouse=True)
def variables(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Install from the downloaded wheels alone; return the variables for that."""
    found = wheels.offline(wheels.shared(tmp_path_factory))
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return place.cache(str(tmp_path / "caches" / ODD), "notebook.cache")


@pytest.fixture(params=["uv", "pip"])
def tool(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Build by one of both."""
    if request.param == "uv":
        monkeypatch.setenv("PATH", f"{TOOL_PATH}:/usr/bin:/bin")
    else:
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return str(request.param)


def built(recipe: Recipe, cache: Cache, again: bool = False) -> tuple[dict[str, object], list[str]]:
    """Return what was built, and what was said."""
    said: list[str] = []
    with DeferredSignals() as held:
        return here.built(recipe, cache, held, said.append, again=again), said


def listing(cache: Cache) -> list[str]:
    return sorted(path.name for path in Path(cache.root).iterdir())


def test_what_a_file_names_is_installed_once_with_a_kernel(
    tmp_path: Path, cache: Cache, tool: str
) -> None:
    project = tmp_path / ODD
    project.mkdir()
    (project / "requirements.txt").write_text("-r more.txt\n")
    (project / "more.txt").write_text("six\n")
    recipe = order.recipe(str(project), [])
    assert recipe.family == tool
    found, said = built(recipe, cache)
    assert any("six" in line for line in said)
    python = f"{found['prefix']}/bin/python"
    code = "import six, ipykernel, sys; print(sys.prefix, '%d.%d.%d' % sys.version_info[:3])"
    printed = subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert printed == f"{found['prefix']} {found['python']}\n"
    assert listing(cache) == sorted([f"{recipe.name}.json", Path(str(found["tree"])).name])
    # The second session finds it: no command is run.
    assert built(recipe, cache) == (found, [])


def test_what_is_not_to_be_had_leaves_nothing(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{TOOL_PATH}:/usr/bin:/bin")
    recipe = order.recipe(None, ["no-such-package-of-rps>=7"])
    with pytest.raises(EnvironmentBuildError) as caught:
        built(recipe, cache)
    assert "uv could not install: exit code 1\n" in caught.value.message
    assert "no-such-package-of-rps" in caught.value.message.partition("\n")[2]
    assert caught.value.exit_code == 6
    assert listing(cache) == []


def test_before_a_job_is_submitted_uv_sees_what_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{TOOL_PATH}:/usr/bin:/bin")
    file = tmp_path / "requirements.txt"
    file.write_text("six\n")
    here.check_resolvable(order.recipe(None, ["six"]))
    here.check_resolvable(order.recipe(str(file), ["ipykernel"]))
    for recipe in (
        order.recipe(str(file), ["six<1"]),
        order.recipe(None, ["no-such-package-of-rps"]),
    ):
        with pytest.raises(EnvironmentBuildError, match="uv cannot resolve it\n") as caught:
            here.check_resolvable(recipe)
        assert "No solution found" in caught.value.message
    monkeypatch.delenv("UV_CONFIG_FILE")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://127.0.0.1:1/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    here.check_resolvable(order.recipe(None, ["no-such-package-of-rps"]))  # no answer is no refusal


def test_without_a_network_the_lines_of_the_tool_say_so(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{TOOL_PATH}:/usr/bin:/bin")
    if os.geteuid() != 0:
        pytest.skip("only root makes a network namespace")
    monkeypatch.delenv("UV_CONFIG_FILE")
    address = "https://user:secret@index.invalid/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", address)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with own_network(), pytest.raises(EnvironmentBuildError) as caught:
        built(order.recipe(None, ["six"]), cache)
    assert "index.invalid" in caught.value.message
    assert "secret" not in caught.value.message
    assert listing(cache) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    monkeypatch.setenv("PATH", f"{TOOL_PATH}:/usr/bin:/bin")
    monkeypatch.setattr(place, "_LEAST", 0)
    disk = tmp_path / "disk"
    disk.mkdir()
    with own_mounts():
        small_disk(disk, "6m")
        small = place.cache(str(disk / "cache"), "notebook.cache")
        with pytest.raises(EnvironmentBuildError, match="No space left on device") as caught:
            built(order.recipe(None, ["six"]), small)
        assert f"The disk of {small.root} is full" in caught.value.hint
        assert listing(small) == []
        used = os.statvfs(disk)
        assert (used.f_blocks - used.f_bfree) * used.f_frsize < 1 << 20


def test_the_versions_of_a_lock_stay_when_the_kernel_is_added(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ipykernel needs is installed beside them, not in their place."""
    monkeypatch.setenv("PATH", f"{TOOL_PATH}:/usr/bin:/bin")
    project = tmp_path / "p"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["six"]\n'
    )
    subprocess.run(["uv", "lock", "--project", str(project)], check=True, capture_output=True)
    found, _ = built(order.recipe(str(project), []), cache)
    listed = subprocess.run(
        ["uv", "pip", "list", "--python", f"{found['prefix']}/bin/python"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert "six" in listed
    assert "ipykernel" in listed
    assert not (project / ".venv").exists()
    # A lock that no longer fits its project is refused, with uv's own words.
    (project / "pyproject.toml").write_text(
        (project / "pyproject.toml").read_text().replace('"six"', '"six>=1.0"')
    )
    before = listing(cache)
    with pytest.raises(
        EnvironmentBuildError, match=r"could not install what uv\.lock has"
    ) as caught:
        built(order.recipe(str(project), []), cache)
    assert "--locked" in caught.value.message
    # For a build in a job uv sees it before.
    with pytest.raises(EnvironmentBuildError, match="needs to be updated"):
        here.check_resolvable(order.recipe(str(project), []))
    assert listing(cache) == before


def test_a_file_that_changes_meanwhile_is_not_taken_for_the_other(
    tmp_path: Path, cache: Cache
) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("six\n")
    recipe = order.recipe(str(file), [])
    file.write_text("six==1\n")
    with pytest.raises(EnvironmentBuildError, match="was changed since"):
        built(recipe, cache)
    assert listing(cache) == []


CODE = """
import sys
from rps_core.environment.made import here, order
from rps_core.node.builder.cache import Cache
from rps_core.node.builder.recipe import Recipe
from rps_core.system.signals import DeferredSignals
with DeferredSignals() as held:
    recipe, cache = order.recipe(sys.argv[2], []), Cache(sys.argv[1])
    found = here.built(recipe, cache, held, lambda line: print(line, flush=True))
print("prefix", found["prefix"])
"""


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a project whose build takes until the file `go` is there."""
    monkeypatch.setenv("PATH", f"{TOOL_PATH}:/usr/bin:/bin")
    for name, value in wheels.slow_project(tmp_path).items():
        monkeypatch.setenv(name, value)
    yield tmp_path
    (tmp_path / "go").touch()


def building(cache: Cache, slow: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, cache.root, str(slow / "slow" / "pyproject.toml")],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def builds(slow: Path) -> list[int]:
    """Return the processes that have built the project."""
    file = slow / "builds"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def test_two_at_once_build_it_once(cache: Cache, slow: Path) -> None:
    first = building(cache, slow)
    try:
        until(lambda: builds(slow), "the first build")
        second = building(cache, slow)
        assert second.stdout is not None
        said = until(second.stdout.readline, "what the second says")
        assert said == (
            f"waiting for process {first.pid} on {os.uname().nodename}, which builds the same environment\n"
        )
    finally:
        (slow / "go").touch()
        one = first.communicate()[0]
    other = second.communicate()[0]
    assert (first.returncode, second.returncode) == (0, 0), one + other
    assert one.splitlines()[-1] == other.splitlines()[-1]
    assert len(builds(slow)) == 1
    assert len(listing(cache)) == 2


def test_one_that_is_killed_is_taken_over(cache: Cache, slow: Path) -> None:
    first = building(cache, slow)
    until(lambda: builds(slow), "the first build")
    first.kill()
    first.communicate()
    (slow / "go").touch()
    second = building(cache, slow)
    printed = second.communicate()[0]
    assert second.returncode == 0, printed
    assert listing(cache) == sorted(
        [
            Path(printed.split()[-1]).name,
            next(n for n in listing(cache) if n.endswith(".json")),
        ]
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_that_is_stopped_leaves_nothing(
    cache: Cache, slow: Path, number: signal.Signals
) -> None:
    first = building(cache, slow)
    child = until(lambda: builds(slow), "the first build")[0]
    first.send_signal(number)
    printed = first.communicate()[0]
    assert "KeyboardInterrupt" in printed
    assert listing(cache) == []
    until(lambda: start_ticks(child) is None, "the end of the tool's processes")
