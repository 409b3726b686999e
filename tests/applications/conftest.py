"""The real applications of this machine, a Chromium, and a session that opens one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Remote

from tests.conftest import SYSTEM_PATH
from tests.stands.locked_environment import code_server, locked_environment


@pytest.fixture(scope="session")
def on_the_path(installed: Any) -> str:
    """Return a PATH with the applications of `locks/applications.txt`, VS Code, and RStudio's stand-in."""
    programs = locked_environment("applications") / "bin"
    stand_ins: Path = installed.user.make(Path(installed.user.home) / "stand-ins")
    rserver = stand_ins / "rserver"
    stand_in = installed.directory / "tests/stands/rserver.py"
    rserver.write_text(f'#!/bin/sh\nexec {programs}/python3 {stand_in} "$@"\n')
    rserver.chmod(0o755)
    return f"{programs}:{code_server(programs)}:{stand_ins}:{SYSTEM_PATH}"


@pytest.fixture
def browser(chromium_of_rps: Remote) -> Remote:
    """Return the Chromium that trusts the CA."""
    return chromium_of_rps


@pytest.fixture
def start(installed: Any, on_the_path: str) -> Iterator[Callable[..., dict[str, Any]]]:
    """`rps start --wait --json` with rps's own Jupyter; its sessions end with the test."""
    names = []

    def start_session(*options: str, **arguments: Any) -> dict[str, Any]:
        jupyter = installed.directory / ".venv/bin/jupyter"
        words = ["start", "--wait", "--json", "--set", f"notebook.jupyter={jupyter}", *options]
        done = installed.rps(*words, env={"PATH": on_the_path}, **arguments)
        found: dict[str, Any] = json.loads(done.stdout)
        names.append(found["name"])
        return found

    yield start_session
    for name in names:
        installed.rps("stop", name)


@pytest.fixture
def project(installed: Any, request: pytest.FixtureRequest) -> Path:
    """Return a directory whose name a shell would change."""
    name = f"my $(touch x) 'projét' {request.node.name}"
    directory: Path = installed.user.make(Path(installed.user.home) / name)
    return directory
