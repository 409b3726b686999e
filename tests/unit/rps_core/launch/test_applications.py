"""The programs that the applications of a session find."""

from __future__ import annotations

from pathlib import Path

import pytest

from rps_core.config.apps import AppRow
from rps_core.launch.applications import _with_packages


def python(prefix: Path, *packages: str) -> str:
    """Make a prefix with a Python that has packages; return the directory of its programs."""
    for package in packages:
        (prefix / "lib/python3.11/site-packages" / package).mkdir(parents=True)
    (prefix / "bin").mkdir(parents=True, exist_ok=True)
    (prefix / "bin/python3").touch()
    return str(prefix / "bin")


def test_an_application_beside_the_notebook_gets_the_python_that_has_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, half = python(tmp_path / "own"), python(tmp_path / "half", "distributed")
    whole = python(tmp_path / "whole", "distributed", "bokeh")
    monkeypatch.setenv("PATH", f"{half}:{whole}")
    row = AppRow(packages=("distributed", "bokeh"))
    assert _with_packages(row, (own,)) == [whole]
    assert _with_packages(AppRow(), (own,)) == []
    monkeypatch.setenv("PATH", half)
    assert _with_packages(row, (own,)) == []
