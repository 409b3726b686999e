"""Sessions that are stopped whatever becomes of the test, a visitor for each, and uv with its wheels."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.visitor import Visitor
from tests.stands import wheels


@pytest.fixture(scope="session")
def ca_file(installed: Any) -> Path:
    """Return the local CA, by the path that rps prints."""
    return Path(installed.rps("proxy", "ca").stdout.strip())


@pytest.fixture
def visit(ca_file: Path) -> Callable[[str], Visitor]:
    """Return a visitor for a URL."""
    return lambda url: Visitor(url, ca_file)


@pytest.fixture
def start(installed: Any) -> Iterator[Callable[..., dict[str, Any]]]:
    """`rps start --wait --json` with more options; every session ends with the test."""

    def start_session(*options: str, **arguments: Any) -> dict[str, Any]:
        done = installed.rps("start", "--wait", "--json", *options, **arguments)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    yield start_session
    installed.rps("stop", "--all")


@pytest.fixture
def variables(tmp_path_factory: pytest.TempPathFactory, ground: Path) -> dict[str, str]:
    """Return what an ordinary user needs to install from the downloaded wheels, with uv."""
    place = ground / "wheels"
    shutil.copytree(
        wheels.shared(tmp_path_factory), place, ignore=shutil.ignore_patterns("uv-cache", "lock")
    )
    uv = ground / "bin" / "uv"
    uv.parent.mkdir()
    shutil.copy(Path(sys.executable).with_name("uv"), uv)
    found = wheels.offline(place) | {"PATH": f"{uv.parent}:/usr/local/bin:/usr/bin:/bin"}
    del found["UV_CACHE_DIR"]  # it is root's
    return found
