"""Stop and fail a unit test that starts a program or opens a connection."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

# https://docs.python.org/3/library/audit_events.html: each way in which Python starts a process.
STARTS = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn",
          "subprocess.Popen"}  # fmt: skip


class NotAUnitTest(BaseException):
    """Not an Exception, so the code under test cannot handle it."""


class Guard:
    """An audit hook; Python cannot remove one, so it is active in unit tests only."""

    def __init__(self) -> None:
        self.active = False
        self.seen: list[str] = []
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        connects = event == "socket.connect" and arguments[0].family != socket.AF_UNIX
        if connects or event in STARTS:
            self.seen.append(f"{event} {arguments}")
            raise NotAUnitTest(f"{self.seen[-1]}: move the test to tests/programs")

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch; fail at the end where the code under test has caught what was raised."""
        self.seen.clear()
        self.active = True
        try:
            yield
        finally:
            self.active = False
        if self.seen:
            pytest.fail(f"a unit test that starts a program or connects: {self.seen}")


_guard = Guard()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    """Guard the fixtures."""
    with _guard.on():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Guard the test."""
    with _guard.on():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Guard what the fixtures do at their end."""
    with _guard.on():
        return (yield)
