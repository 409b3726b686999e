"""`rps env build`, `list` and `remove`: what is asked of them, without building anything."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rps_core.cli.main import rps
from rps_core.environment.made import place
from rps_core.errors import NotFoundError, UsageError
from rps_core.node.builder.cache import Cache


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> Cache:
    """Return the cache, with a usable environment, and one whose Python is gone."""
    monkeypatch.setenv("RPS_CLUSTER", "local")
    found = place.cache(None, "notebook.cache")
    for name, python in (("abc1-x86_64", True), ("abd2-x86_64", False)):
        lock = found.try_lock(name)
        assert lock is not None
        Path(lock.tree, "bin").mkdir(parents=True)
        if python:
            Path(lock.tree, "bin", "python").symlink_to("/bin/sh")
        facts = {
            "label": "it's a $(proj) \u00fc/requirements.txt",
            "made_by": "uv",
            "python": "3.12.4",
        }
        found.publish(name, lock.tree, "", size=48_000_000, **facts)
        lock.release()
    an_hour_ago = time.time() - 3600
    os.utime(Path(found.root, "abd2-x86_64.json"), (an_hour_ago, an_hour_ago))
    return found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(rps, ["env", *arguments])


def error(*arguments: str) -> BaseException | None:
    return run(*arguments).exception


def test_a_list_says_what_each_is_and_whether_it_can_be_used(cache: Cache) -> None:
    lines = run("list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "ENVIRONMENT", "PYTHON", "MADE", "BY", "SIZE", "USED"]
    assert "it's a $(proj) \u00fc/requirements.txt  3.12.4  uv" in lines[1]
    assert "  48 MB  " in lines[1]
    assert lines[1].endswith("s ago")
    assert lines[2].endswith("unusable: its Python is gone")
    found = json.loads(run("list", "--json").stdout)
    assert [one["name"] for one in found] == ["abc1-x86_64", "abd2-x86_64"]  # the last used first


def test_a_name_that_is_not_one_environment_removes_none(cache: Cache) -> None:
    for names, words in (
        (["ab"], "2 environments begin with ab"),
        (["x"], "No environment is called x"),
    ):
        caught = error("remove", *names)
        assert isinstance(caught, NotFoundError)
        assert caught.message == words
    assert isinstance(error("remove"), UsageError)
    assert len(cache.names()) == 2


def test_one_that_is_named_twice_is_removed_once(cache: Cache) -> None:
    done = run("remove", "abc", "ABC1", "--json")
    assert json.loads(done.stdout) == ["abc1-x86_64"]
    assert cache.names() == ["abd2-x86_64"]
    assert "removed" in run("remove", "--all").stderr
    assert "No environments to remove." in run("remove", "--all").stderr
    assert "No environments in" in run("list").stderr
    assert json.loads(run("list", "--json").stdout) == []


def test_nothing_is_built_of_nothing(cache: Cache, tmp_path: Path) -> None:
    caught = error("build")
    assert isinstance(caught, UsageError)
    assert caught.message.startswith("Nothing to build")
    gone = error("build", str(tmp_path / "it's gone $(x).txt"))
    assert isinstance(gone, UsageError)
    assert "no such file" in gone.message
    both = error("build", str(tmp_path), "--with", "numpy")
    assert isinstance(both, UsageError)
    assert "has no file that an environment can be built from" in both.message
