"""The cache of environments: what is published, who builds, what is removed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rps_core.node.builder import cache as caching
from rps_core.node.builder.cache import Cache

NAME = "0123456789abcdef-x86_64"


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    (tmp_path / "cache").mkdir()
    return Cache(str(tmp_path / "cache"))


def built(cache: Cache, name: str = NAME, python: str = "/bin/sh", **facts: Any) -> Path:
    lock = cache.try_lock(name)
    assert lock is not None
    tree = Path(lock.tree)
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "python").symlink_to(python)
    cache.publish(name, lock.tree, "", **({"label": "six", "size": 7} | facts))
    lock.release()
    return tree


def owner(cache: Cache, **changes: Any) -> None:
    """Change what the lock says of its owner."""
    path = Path(cache.root, f"{NAME}.lock")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_is_published_is_found_with_its_prefix(cache: Cache) -> None:
    assert cache.published(NAME) is None
    tree = built(cache, python="/bin/sh", made_by="uv")
    found = cache.published(NAME)
    assert found is not None
    assert (found["prefix"], found["label"], found["made_by"]) == (str(tree), "six", "uv")
    assert cache.names() == [NAME]
    assert Path(cache.root, f"{NAME}.json").stat().st_mode & 0o077 == 0


def test_one_whose_python_is_gone_is_not_used(cache: Cache) -> None:
    built(cache, python="/nonexistent/python")
    assert cache.published(NAME) is None
    assert cache.entry(NAME) is not None  # and is still listed


@pytest.mark.parametrize(
    "change",
    [
        {"tree": "../elsewhere"},
        {"tree": "another-1"},
        {"tree": 3},
        {"below": "../.."},
        {"below": "/etc"},
        {"label": "a\x1b[2J"},
        {"size": "x"},
        {"made": None},
    ],
)
def test_a_damaged_entry_is_none(cache: Cache, change: dict[str, Any]) -> None:
    built(cache)
    path = Path(cache.root, f"{NAME}.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert cache.entry(NAME) is None
    path.write_text("{")
    assert cache.entry(NAME) is None
    cache.remove(NAME)
    assert cache.names() == []


def test_one_process_builds_at_a_time(cache: Cache) -> None:
    lock = cache.try_lock(NAME)
    assert lock is not None
    assert cache.try_lock(NAME) is None
    assert cache.builder(NAME) == f"process {os.getpid()} on {os.uname().nodename}"
    lock.release()
    assert cache.builder(NAME) is None
    assert cache.try_lock(NAME) is not None


def test_of_a_process_that_has_ended_lock_and_tree_are_removed(cache: Cache) -> None:
    lock = cache.try_lock(NAME)
    assert lock is not None
    Path(lock.tree, "bin").mkdir(parents=True)
    owner(cache, ticks=1)  # another process had this pid
    assert cache.builder(NAME) is None
    assert list(Path(cache.root).iterdir()) == []


@pytest.mark.parametrize("change", [{"boot": "another"}, {"pids": 1}, {"boot": ""}])
def test_a_builder_elsewhere_is_gone_when_it_is_silent(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    lock = cache.try_lock(NAME)
    assert lock is not None
    Path(lock.tree).mkdir()
    owner(cache, host="node7", pid=1, ticks=1, **change)
    assert cache.builder(NAME) == "process 1 on node7"
    monkeypatch.setattr(caching, "SILENCE", -1.0)
    lock._next = 0.0
    lock.beat()
    os.utime(lock.path, (1, 1))  # a sign of life, whatever the file server's clock says
    assert cache.builder(NAME) is None
    # It may live, behind a network that is cut: its tree stays, until it is long silent.
    assert Path(lock.tree).is_dir()


def test_a_lock_that_another_took_is_not_released(cache: Cache) -> None:
    lock = cache.try_lock(NAME)
    assert lock is not None
    Path(lock.path).unlink()
    other = cache.try_lock(NAME)
    assert other is not None
    lock.release()
    assert Path(other.path).exists()


def test_a_tree_that_nothing_names_is_an_orphan_once_it_is_old(cache: Cache) -> None:
    named = built(cache)
    lost = Path(cache.root, f"{NAME}-0")
    young = Path(cache.root, f"{NAME}-1")
    under_way = cache.try_lock("other-x86_64")
    assert under_way is not None
    for tree in (lost, young, Path(under_way.tree)):
        tree.mkdir()
    for tree in (named, lost, Path(under_way.tree)):
        os.utime(tree, (1, 1))
    assert cache.orphans() == [str(lost)]


def test_what_its_tool_made_unwritable_is_removed_too(cache: Cache) -> None:
    tree = built(cache)
    closed = tree / "pkgs" / "closed"
    closed.mkdir(parents=True)
    (closed / "file").write_text("x")
    closed.chmod(0o500)
    (tree / "out").symlink_to("/")
    caching._open(str(tree))  # root, which these tests may run as, needs no permission
    assert closed.stat().st_mode & 0o700 == 0o700
    cache.remove(NAME)
    assert list(Path(cache.root).iterdir()) == []


def test_a_use_is_noted(cache: Cache) -> None:
    built(cache)
    os.utime(Path(cache.root, f"{NAME}.json"), (5, 5))
    assert cache.used(NAME) == 5
    cache.use(NAME)
    assert cache.used(NAME) > 5
    assert cache.used("gone-x86_64") == 0
    cache.use("gone-x86_64")
