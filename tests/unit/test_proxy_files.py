"""Directories and files of the service's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rps_core.errors import ServiceError
from rps_proxy.files import own_directory


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_root_makes_nothing_that_another_account_could_not_use(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, -1)
    with pytest.raises(ServiceError, match="belongs to user 12345") as error:
        own_directory(tmp_path / "theirs" / "ca")
    assert "as the account" in error.value.hint
    assert list((tmp_path / "theirs").iterdir()) == []
