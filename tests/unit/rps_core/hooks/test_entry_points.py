"""Entry points without importlib.metadata: the same as with it."""

import importlib.metadata
import os
import os.path
from collections.abc import Iterator
from pathlib import Path

import pytest

from rps_core.hooks.entry_points import _of_group as of_group
from rps_core.hooks.entry_points import entry_points
from rps_core.system import paths


@pytest.mark.parametrize("group", ["rps", "console_scripts", "pytest11", "no.such.group"])
def test_what_is_installed_here_is_found_as_importlib_does(group: str) -> None:
    theirs = {(point.name, point.value) for point in importlib.metadata.entry_points(group=group)}
    assert {(point.name, point.value) for point in entry_points(group)} == theirs


def install(directory: Path, name: str, points: str) -> None:
    metadata = directory / f"{name}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: A-B\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text(points)


def test_names_values_objects_and_distributions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(
        tmp_path / "one",
        "a_b-1.2",
        "# a comment\n[other]\nx = y\n\n[mine]\npath=os.path\n"
        "join = os:path.join [extra]\n# no\ncolon : not one\n[last]\nz = z\n",
    )
    install(tmp_path / "two", "A.B-1.1", "[mine]\nhidden = os\n")
    for directory in ("absent", "two", "one"):
        monkeypatch.syspath_prepend(str(tmp_path / directory))
    found = {point.name: point for point in entry_points("mine")}
    assert {name: point.load() for name, point in found.items()} == {
        "path": os.path,
        "join": os.path.join,
    }
    assert (found["path"].dist.name, found["path"].dist.version) == ("A-B", "1.2")


def test_a_plugin_that_was_just_installed_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    assert entry_points("mine") == []
    install(tmp_path, "a-1", "[mine]\nnew = os\n")
    assert [point.name for point in entry_points("mine")] == ["new"]


def installed_long_ago(directory: Path, name: str, points: str) -> Path:
    """Install a distribution whose files are older than what is not remembered yet."""
    install(directory, name, points)
    file = next(directory.glob(f"{name}*/entry_points.txt"))
    for path in (file, file.parent, directory):
        os.utime(path, (1, 1))
    return file


def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the distributions that are read from now on."""
    read: list[str] = []

    def noted(group: str, metadata: str) -> Iterator[tuple[str, str]]:
        read.append(metadata)
        return of_group(group, metadata)

    monkeypatch.setattr("rps_core.hooks.entry_points._of_group", noted)
    return read


def test_what_was_found_is_remembered_until_something_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    file = installed_long_ago(tmp_path, "one", "[rps]\none = one\n")
    assert [point.name for point in entry_points("rps")] == ["one"]
    read = opened(monkeypatch)
    assert [(point.name, point.file) for point in entry_points("rps")] == [("one", str(file))]
    assert read == []
    assert entry_points("another") == []  # another group is another answer
    file.write_text("[rps]\nedited = one\n")  # in place: its directory does not change
    assert [point.name for point in entry_points("rps")] == ["edited"]
    os.utime(file, (1, 1))
    assert [point.name for point in entry_points("rps")] == ["edited"]
    install(tmp_path, "two", "[rps]\ntwo = two\n")
    assert {point.name for point in entry_points("rps")} == {"edited", "two"}


def test_what_is_edited_in_place_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An `egg-info` in a project's own directory, as `setup.py develop` makes it."""
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    file = tmp_path / "mine.egg-info" / "entry_points.txt"
    file.parent.mkdir()
    file.write_text("[console_scripts]\nmine = mine\n")
    for path in (file, file.parent, tmp_path):
        os.utime(path, (1, 1))
    assert entry_points("rps") == entry_points("rps") == []
    file.write_text("[rps]\nmine = mine\n")
    assert [point.name for point in entry_points("rps")] == ["mine"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"group": "rps"}', '{"found": [[1]]}'])
def test_a_damaged_memory_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    installed_long_ago(tmp_path, "one", "[rps]\none = one\n")
    entry_points("rps")
    file = paths.cache_dir() / "plugins.json"
    assert file.exists()
    file.write_text(content)
    assert [point.name for point in entry_points("rps")] == ["one"]
