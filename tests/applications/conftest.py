"""The real applications of this machine, a Chromium, and a session that opens one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Remote

from tests.browser.chromium import chromium, trust
from tests.conftest import SYSTEM_PATH
from tests.stands.locked_environment import locked_environment


@pytest.fixture(scope="session")
def on_the_path() -> str:
    """Return a PATH with the applications of `locks/applications.txt`."""
    return f"{locked_environment('applications')}/bin:{SYSTEM_PATH}"


@pytest.fixture(scope="session")
def browser(installed: Any, need: Callable[[str], str]) -> Iterator[Remote]:
    """Start a Chromium that trusts the CA whose path `rps proxy ca` prints."""
    user, home = installed.user, Path(installed.user.home)
    trust(user, home, installed.rps("proxy", "ca").stdout.strip(), need)
    with chromium(user, home, need) as remote:
        yield remote


@pytest.fixture
def start(installed: Any, on_the_path: str) -> Iterator[Callable[..., dict[str, Any]]]:
    """`rps start --wait --json` with rps's own Jupyter; every session ends with the test."""

    def start_session(*options: str, check: bool = True, **arguments: Any) -> Any:
        jupyter = installed.directory / ".venv/bin/jupyter"
        words = ["start", "--wait", "--json", "--set", f"notebook.jupyter={jupyter}", *options]
        done = installed.rps(*words, env={"PATH": on_the_path}, check=check, **arguments)
        return json.loads(done.stdout) if check else done

    yield start_session
    installed.rps("stop", "--all")


@pytest.fixture
def project(installed: Any, request: pytest.FixtureRequest) -> Path:
    """Return a directory whose name a shell would change."""
    name = f"my $(touch x) 'projét' {request.node.name}"
    directory: Path = installed.user.make(Path(installed.user.home) / name)
    return directory
