"""Programs as a compute node has them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

_NOT_THERE = ("node", "nodejs", "npm")


@pytest.fixture(scope="session")
def _path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The developer's PATH without Node.js, which JupyterLab would run twice at each start."""
    places = []
    for place in map(Path, os.environ["PATH"].split(":")):
        if any(shutil.which(name, path=str(place)) for name in _NOT_THERE):
            places.append(tmp_path_factory.mktemp("programs"))
            for program in place.iterdir():
                if program.name not in _NOT_THERE:
                    (places[-1] / program.name).symlink_to(program)
        else:
            places.append(place)
    return ":".join(map(str, places))


@pytest.fixture(autouse=True)
def _programs(_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", _path)
