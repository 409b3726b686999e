"""Programs on the PATH, as shutil.which finds them."""

import os
import shutil
from pathlib import Path

import pytest

from rps_core.system.programs import which


def test_the_same_is_found_as_by_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for directory in ("first", "second"):
        (tmp_path / directory).mkdir()
    for file, mode in (("first/plain", 0o644), ("second/plain", 0o755), ("second/both", 0o755),
                       ("first/both", 0o755)):  # fmt: skip
        (tmp_path / file).write_text("#!/bin/sh\n")
        (tmp_path / file).chmod(mode)
    (tmp_path / "first" / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    places = [
        f"{tmp_path}/first:{tmp_path}/second", f"{tmp_path}/none::{tmp_path}/second", "second", "", None,
    ]  # fmt: skip
    names = [
        "plain",
        "both",
        "folder",
        "none",
        "sh",
        "second/plain",
        "first/plain",
        f"{tmp_path}/second",
    ]
    for place in places:
        for name in names:
            found, expected = which(name, place), shutil.which(name, path=place)
            assert (found and os.path.realpath(found)) == (expected and os.path.realpath(expected))
    monkeypatch.setenv("PATH", "")
    assert which("sh") == shutil.which("sh")
    monkeypatch.delenv("PATH")
    assert which("sh") == shutil.which("sh")
