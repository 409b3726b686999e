"""A file is replaced whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rps_core.system.files import beside, remove_unfinished, replace_file, write_new


def test_a_file_is_replaced_with_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "directory" / "file"
    file.parent.mkdir()
    file.write_bytes(b"former")
    replace_file(file, b"new", 0o700)
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"new", 0o700)
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("fails", ["write", "rename"])
def test_a_file_that_cannot_be_replaced_is_as_before(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "directory" / "file"
    file.parent.mkdir()
    file.mkdir()  # a file cannot take a directory's name
    if fails == "write":
        file.rmdir()
        file.write_bytes(b"former")

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("rps_core.system.files.os.fsync", full)
    with pytest.raises(OSError) as error:  # noqa: PT011 - either kind
        replace_file(file, b"new")
    assert error.value.filename == str(file)
    assert list(file.parent.iterdir()) == [file]
    assert fails == "rename" or file.read_bytes() == b"former"


def test_a_link_at_the_name_is_not_followed(tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    with pytest.raises(FileExistsError):
        write_new(link, b"content")
    replace_file(link, b"content")
    assert not link.is_symlink()
    assert not target.exists()


def test_a_file_for_a_group_has_its_mode_in_spite_of_the_umask(tmp_path: Path) -> None:
    former = os.umask(0o077)
    try:
        write_new(tmp_path / "file", b"content", 0o640, group=os.getegid())
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_two_writers_have_two_names(tmp_path: Path) -> None:
    assert beside(tmp_path / "file") != beside(tmp_path / "file")


def test_what_killed_commands_left_is_removed_after_an_hour(tmp_path: Path) -> None:
    """Test that a file which another command may be writing stays, and so does every other file."""
    place = tmp_path / "place"
    place.mkdir()
    old = [".configuration.17", ".configuration.17.4711"]
    others = [".configuration.18.1", "configuration.17.1", ".configuration.x.1", ".others.17.1"]
    for name in (*old, *others):
        (place / name).touch()
        if name != ".configuration.18.1":
            os.utime(place / name, (0, 0))
    remove_unfinished(place / "configuration")
    assert sorted(path.name for path in place.iterdir()) == sorted(others)
    remove_unfinished(place / "missing" / "configuration")
