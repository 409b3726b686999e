"""Where the cache is, and what is pruned from it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rps_core.environment.made import place
from rps_core.errors import UsageError
from rps_core.node.builder.cache import Cache

DAY = 86400


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return place.cache(str(tmp_path / "cache"), "notebook.cache")


def unused(cache: Cache, label: str, days: float, size: int = 1) -> str:
    """Publish an environment that was last used so many days ago; return its prefix."""
    name = f"{label}-x86_64"
    lock = cache.try_lock(name)
    assert lock is not None
    Path(lock.tree).mkdir()
    cache.publish(name, lock.tree, "", label=label, size=size)
    lock.release()
    when = time.time() - days * DAY
    os.utime(Path(cache.root, f"{name}.json"), (when, when))
    return lock.tree


def left(cache: Cache) -> list[str]:
    return [name.partition("-")[0] for name in cache.names()]


def test_variables_of_the_path_are_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("USER", "ann é")
    assert place.directory("/scratch/$USER/x${USER}", "k") == Path("/scratch/ann é/xann é")
    assert place.directory("~/x", "k") == tmp_path / "home" / "x"
    assert place.directory(None, "k") == tmp_path / "home" / ".cache" / "rps" / "environments"


@pytest.mark.parametrize(
    "setting", ["/scratch/$NO_SUCH_VARIABLE", "/scratch/${NOT_SET}/x", "relative"]
)
def test_a_path_that_is_none_is_refused(setting: str) -> None:
    with pytest.raises(UsageError, match=r"config.yaml:3: .*") as caught:
        place.directory(setting, "config.yaml:3")
    assert caught.value.hint


def test_the_cache_is_closed_to_others(tmp_path: Path) -> None:
    root = tmp_path / "a" / "b"
    assert place.cache(str(root), "k").root == str(root)
    assert root.stat().st_mode & 0o777 == 0o700
    root.chmod(0o777)
    with pytest.raises(UsageError, match="writable for everyone"):
        place.cache(str(root), "k")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError):
        place.cache(str(tmp_path / "file" / "x"), "k")


def test_no_build_begins_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.check_space(str(tmp_path))
    monkeypatch.setattr(place, "_LEAST", 1 << 62)
    with pytest.raises(UsageError, match="MB free") as caught:
        place.check_space(str(tmp_path))
    assert "rps env remove" in caught.value.hint


def test_environments_unused_for_long_are_removed(cache: Cache) -> None:
    unused(cache, "old", 31)
    unused(cache, "new", 29)
    running = unused(cache, "running", 300)
    removed = place.prune(cache, days=30, most=None, in_use=[f"{running}/.pixi/envs/default"])
    assert [(one.label, one.reason) for one in removed] == [("old", "not used for 31 days")]
    assert left(cache) == ["new", "running"]


def test_beyond_the_size_the_longest_unused_is_removed_first(cache: Cache) -> None:
    unused(cache, "first", 3, size=60)
    unused(cache, "second", 2, size=60)
    unused(cache, "third", 1, size=60)
    place.prune(cache, days=30, most=130, in_use=[])
    assert left(cache) == ["second", "third"]
    place.prune(cache, days=30, most=10, in_use=[])
    assert left(cache) == []


def test_what_a_session_may_just_be_starting_with_stays(cache: Cache) -> None:
    unused(cache, "now", 0.01, size=100)
    running = unused(cache, "running", 9, size=100)
    place.prune(cache, days=30, most=1, in_use=[running])
    assert left(cache) == ["now", "running"]


def test_orphans_go_unless_a_session_uses_them(cache: Cache) -> None:
    trees = [Path(cache.root, f"gone-x86_64-{number}") for number in range(2)]
    for tree in trees:
        tree.mkdir()
        os.utime(tree, (1, 1))
    place.prune(cache, days=30, most=None, in_use=[str(trees[1])])
    assert [tree.is_dir() for tree in trees] == [False, True]
