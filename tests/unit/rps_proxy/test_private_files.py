"""Directories and files of the service's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rps_core.errors import ServiceError
from rps_proxy.private_files import (
    create_private,
    own_directory,
    read_key,
    write_for_group,
    write_private,
)


def test_what_is_missing_above_a_directory_is_made_for_us_alone(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o755)
    before = os.umask(0)
    try:
        own_directory(tmp_path / "shared" / "local" / "share" / "ca")
    finally:
        os.umask(before)
    modes = [
        (tmp_path / "shared" / below).stat().st_mode & 0o777
        for below in ("", "local", "local/share", "local/share/ca")
    ]
    assert modes == [0o755, 0o700, 0o700, 0o700]


@pytest.mark.parametrize("content", [b"short", b"k" * 40 + b"\n" + b"k" * 40, "ü".encode() * 40])
def test_a_key_is_one_line_of_ascii(content: bytes, tmp_path: Path) -> None:
    """Any other could not be said in a head."""
    file = tmp_path / "key"
    write_private(file, b"k" * 32 + b"\n")
    assert read_key(file, "issuing names") == b"k" * 32
    write_private(file, content)
    with pytest.raises(
        ServiceError, match="holds no key for issuing names: a key is one line of at least 32 ASCII"
    ):
        read_key(file, "issuing names")


def test_what_is_in_the_way_of_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError) as error:
        own_directory(tmp_path / "file" / "service")
    assert f"cannot be used: {tmp_path / 'file'}: File exists" in error.value.message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_root_makes_nothing_that_another_account_could_not_use(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, -1)
    with pytest.raises(ServiceError, match="belongs to user 12345") as error:
        own_directory(tmp_path / "theirs" / "ca")
    assert "as the account" in error.value.hint
    assert list((tmp_path / "theirs").iterdir()) == []


@pytest.mark.parametrize("write", [write_private, create_private, write_for_group])
def test_what_is_written_outlives_a_power_failure(
    write: Callable[[Path, bytes], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is on the disk before its name leads to it, and then the name is, too."""
    file = tmp_path / "directory" / "file"
    file.parent.mkdir()
    synced = []

    def note(handle: int) -> None:
        what = Path(f"/proc/self/fd/{handle}").readlink()
        synced.append((what == file.parent, list(file.parent.iterdir()) == [file]))

    monkeypatch.setattr(os, "fsync", note)
    write(file, b"content")
    assert synced == [(False, False), (True, True)]
    assert file.read_bytes() == b"content"


def test_a_file_that_is_as_it_must_be_is_left_alone(tmp_path: Path) -> None:
    file, first = tmp_path / "file", tmp_path / "first"
    write_for_group(file, b"content")
    first.hardlink_to(file)
    write_for_group(file, b"content")
    assert file.samefile(first)


def _a_pipe_in_its_place(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda file: file.write_bytes(b"CONTENT"),
        lambda file: file.write_bytes(b"content, and more"),
        lambda file: file.chmod(0o600),
        lambda file: file.chmod(0),
        lambda file: file.rename(file.with_name("other")) and file.symlink_to("other"),
        _a_pipe_in_its_place,
    ],
    ids=["removed", "other", "longer", "not private", "unreadable", "link", "pipe"],
)
def test_a_file_that_was_damaged_is_repaired(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    write_for_group(file, b"content")
    damage(file)
    write_for_group(file, b"content")
    assert file.read_bytes() == b"content"
    assert file.lstat().st_mode == 0o100640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_has_the_group_that_its_directory_has_now(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_for_group(file, b"content")
    os.chown(tmp_path, -1, 12345)
    write_for_group(file, b"content")
    assert file.stat().st_gid == 12345
    os.chown(file, 12345, -1)
    write_for_group(file, b"content")
    assert file.stat().st_uid == 0
