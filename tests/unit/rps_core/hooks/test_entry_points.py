"""Entry points without importlib.metadata: the same as with it."""

import importlib.metadata
import os.path
from pathlib import Path

import pytest

from rps_core.hooks.entry_points import entry_points


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
