"""Completions, their sources, and the modules loaded for them."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rps_core.cli import completion
from rps_core.cli import completion_scripts as shell_scripts
from rps_core.cli.completion import FRESH
from rps_core.cli.main import rps
from rps_core.cluster import ClusterContext
from rps_core.sessions.application import Application
from rps_core.setup import choices
from rps_core.setup.choices import Choices
from rps_core.system import paths
from tests.stands.completions import HERE, remember


@pytest.fixture
def cache() -> Path:
    return remember()


def test_what_the_configuration_names_is_offered_while_the_scheduler_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cache old values, which are fetched again; the scheduler never answers."""
    paths.config_file().parent.mkdir(parents=True)
    paths.config_file().write_text(
        "profiles: {gpu: {}}\njob: {partition: short, account: abc123}\n"
        "apps: {viewer: {command: [viewer, '{port}']}, dash: {timeout: 300}}\n"
        "limits: {partitions: {long: {}, short: {}}}\n"
    )
    monkeypatch.setenv("RPS_CLUSTER", "generic")
    monkeypatch.setattr(os, "posix_spawn", lambda *given, **_: started.append(given))
    started: list[object] = []

    def ask(here: ClusterContext) -> Choices:
        assert completion._cached("partition", "generic") == ["short", "long"]
        assert completion._cached("account", "generic") == ["abc123"]
        assert completion._cached("profile", "generic") == ["gpu"]
        assert completion._cached("application", "generic") == ["viewer"]
        assert len(started) == 1
        return replace(choices.configured(here), partitions=("long", "short", "wide"))

    monkeypatch.setattr(choices, "ask", ask)
    shell_scripts.refresh(Application())
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


def test_only_old_values_are_fetched_again_and_once_a_minute(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    def spawn(path: str, command: list[str], environment: dict[str, str], **_: object) -> None:
        assert not [name for name in environment if name.startswith("COMP_")]
        started.append(command)

    monkeypatch.setattr(os, "posix_spawn", spawn)
    monkeypatch.setenv("COMP_WORDS", "rps start ")

    def offered() -> list[str]:
        return completion._matching(lambda: completion._cached("profile", None), "")

    assert (offered(), started) == (["gpu", "big"], [])
    then = time.time() - FRESH - 1
    os.utime(cache, (then, then))
    assert offered() == offered() == ["gpu", "big"]
    assert [command[-1] for command in started] == ["--refresh"]
    asked = cache.with_name(f"{cache.name}.asked")
    os.utime(asked, (then, then))
    offered()
    assert len(started) == 2


def test_an_edited_configuration_clears_the_cache(
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
