"""Sessions that are stopped whatever becomes of the test, and a visitor for each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.visitor import Visitor


@pytest.fixture(scope="session")
def ca_file(installed: Any) -> Path:
    """The local CA, by the path that rps prints."""
    return Path(installed.rps("proxy", "ca").stdout.strip())


@pytest.fixture
def visit(ca_file: Path) -> Callable[[str], Visitor]:
    """A visitor for a URL."""
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
