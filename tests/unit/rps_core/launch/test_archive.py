"""The agent's archive, from the cache of an earlier start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rps_core.launch import start
from rps_core.node import archive
from rps_core.system import paths


def test_it_is_packed_again_when_a_file_has_changed_or_the_cache_is_damaged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for package in ("agent", "builder"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "part.py").write_text("first = 1\n")
    monkeypatch.setattr(archive, "_HERE", str(tmp_path))
    packed: list[bytes] = []
    build = archive.build

    def noted() -> bytes:
        packed.append(build())
        return packed[-1]

    monkeypatch.setattr(archive, "build", noted)
    first = start._archive()
    assert start._archive() == first == build()
    assert len(packed) == 1
    part = tmp_path / "agent" / "part.py"
    before = part.stat()
    part.write_text("again = 1\n")  # as long as before
    os.utime(part, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert start._archive() == build() != first
    assert len(packed) == 2
    file = paths.cache_dir() / archive.NAME
    file.write_bytes(file.read_bytes()[:-1])
    assert start._archive() == build()
    assert len(packed) == 3
