"""Directories and files of the service's own."""

from __future__ import annotations

import os
from pathlib import Path

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
