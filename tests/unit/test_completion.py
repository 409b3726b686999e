"""What is completed, from what, and what is loaded for it."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rps_core import choices, completion, paths, shell_scripts
from rps_core.choices import Choices
from rps_core.cli import rps
from rps_core.cluster import Here
from rps_core.completion import FRESH
from rps_core.shell import Shell
from tests.unit.test_startup import HEAVY

HERE = {
    "account": ["abc123", "xyz789"],
    "cluster": ["generic", "local"],
    "partition": ["shared", "short-jobs", "gpu", "one; rm -rf ~", "two\u202e"],
    "profile": ["gpu", "big"],
}


@pytest.fixture
def cache() -> Path:
    """What is fresh, beside three sessions, two of which live."""
    completion.remember(None, HERE)
    for name in ("brave-new-world", "brave-old-one", "other-living-one", ".half-made"):
        directory = paths.sessions_dir() / name
        directory.mkdir(parents=True)
        if name != "brave-old-one":
            (directory / "claim.json").touch()
    return next(paths.cache_dir().glob("completion-*"))


def complete(*words: str) -> tuple[list[str], set[str]]:
    """What bash is offered for the last word, and the modules that were loaded for it."""
    code = (
        "import sys\n"
        "sys.argv[0] = 'rps'\n"
        "from rps_core import cli\n"
        "try:\n    cli.run(cli.rps)\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    variables = {
        "COMP_WORDS": " ".join(("rps", *words)),
        "COMP_CWORD": str(len(words)),
        "_RPS_COMPLETE": "bash_complete",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    offered = [line.partition(",")[2] for line in done.stdout.splitlines() if line]
    return offered, set(done.stderr.split())


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("sta",), ["start", "status"]),
        (("stop", ""), ["brave-new-world", "other-living-one"]),
        (("stop", "b"), ["brave-new-world"]),
        (("again", "b"), ["brave-new-world", "brave-old-one"]),
        (("start", ""), ["gpu", "big"]),
        (("start", "--profile", "b"), ["big"]),
        (("start", "-p", ""), ["shared", "short-jobs", "gpu"]),
        (("start", "gpu", "-A", "x"), ["xyz789"]),
        (("start", "--cluster", ""), ["generic", "local"]),
        (("start", "-s", "n"), ["notebook"]),
    ],
    ids=" ".join,
)
def test_what_is_offered_and_that_little_is_loaded(words: tuple[str, ...], told: list[str]) -> None:
    offered, loaded = complete(*words)
    assert offered == told
    assert loaded.isdisjoint({*HEAVY, "json"})
    assert loaded.isdisjoint({"rps_core.settings", "rps_core.plugins", "rps_core.store"})


def test_environments_that_conda_made(tmp_path: Path) -> None:
    listed = paths.home() / ".conda" / "environments.txt"
    listed.parent.mkdir()
    listed.write_text("/opt/conda\n/home/a/envs/science\n/home/a/envs/it's\n")
    assert complete("start", "--conda-env", "s")[0] == ["science"]


def test_paths_are_left_to_the_shell() -> None:
    assert complete("start", "-d", "/va")[0] == ["/va"]


def test_what_is_not_known_is_asked_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is there the next time; what is old is offered until then."""
    config = paths.config_file()
    config.parent.mkdir(parents=True)
    config.write_text("profiles: {gpu: {}}\n")
    monkeypatch.setenv("RPS_CLUSTER", "local")
    assert complete("start", "")[0] == []
    cache = paths.cache_dir() / "completion-local"
    deadline = time.monotonic() + 60
    while not cache.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert complete("start", "")[0] == ["gpu"]
    assert set(complete("start", "--cluster", "")[0]) >= {"generic", "local"}


def test_what_the_configuration_names_is_offered_while_the_scheduler_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Noted as old, so that it is asked anew where the scheduler never answers."""
    paths.config_file().parent.mkdir(parents=True)
    paths.config_file().write_text(
        "profiles: {gpu: {}}\njob: {partition: short, account: abc123}\n"
        "limits: {partitions: {long: {}, short: {}}}\n"
    )
    monkeypatch.setenv("RPS_CLUSTER", "generic")
    monkeypatch.setattr(os, "posix_spawn", lambda *given, **_: started.append(given))
    started: list[object] = []

    def ask(here: Here, _shell: Shell) -> Choices:
        assert completion._cached("partition", "generic") == ["short", "long"]
        assert completion._cached("account", "generic") == ["abc123"]
        assert completion._cached("profile", "generic") == ["gpu"]
        assert len(started) == 1
        return replace(choices.configured(here), partitions=("long", "short", "wide"))

    monkeypatch.setattr(choices, "ask", ask)
    options = {"cluster": None, "assignments": (), "verbose": 0, "log_format": "text"}
    shell_scripts.refresh(options)
    assert completion._cached("partition", "generic") == ["long", "short", "wide"]
    assert len(started) == 1


def test_a_shell_that_loads_the_script_asks_where_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "posix_spawn", lambda _path, command, *_, **__: started.append(command))
    first = shell_scripts.script(rps, "bash")
    assert [command[-1] for command in started] == ["--refresh"]
    completion.remember(None, HERE)
    assert shell_scripts.script(rps, "bash") == first
    assert len(started) == 1


def test_only_what_is_old_is_asked_anew_and_once_a_minute(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    def spawn(path: str, command: list[str], environment: dict[str, str], **_: object) -> None:
        assert not [name for name in environment if name.startswith("COMP_")]
        started.append(command)

    monkeypatch.setattr(os, "posix_spawn", spawn)
    monkeypatch.setenv("COMP_WORDS", "rps start ")

    def offered() -> list[str]:
        return completion._told(lambda: completion._cached("profile", None), "")

    assert (offered(), started) == (["gpu", "big"], [])
    then = time.time() - FRESH - 1
    os.utime(cache, (then, then))
    assert offered() == offered() == ["gpu", "big"]
    assert [command[-1] for command in started] == ["--refresh"]
    asked = cache.with_name(f"{cache.name}.asked")
    os.utime(asked, (then, then))
    offered()
    assert len(started) == 2


def test_an_edited_configuration_is_asked_anew(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr(os, "posix_spawn", lambda *given, **_: started.append(given))
    paths.config_file().parent.mkdir(parents=True)
    paths.config_file().write_text("profiles: {}\n")
    completion._cached("profile", None)
    assert len(started) == 1


def test_a_damaged_cache_offers_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_spawn", lambda *_, **__: None)
    cache.write_bytes(b"\xff\xfe\tprofile\n")
    assert completion._cached("profile", None) == []
