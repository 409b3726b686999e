"""The service with an engine of its own: `rps proxy serve`, and where it is not embedded the real
program beside it, in the foreground, on loopback and in a directory of the test's.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.service_stand import Service, until

PROGRAMS = {"embedded": None, "haproxy": "haproxy", "apache": "apache2"}


class Stand(Service):
    """A service and its engine; `port` is where clients come in."""

    def __init__(self, directory: Path, kind: str, **settings: object) -> None:
        self.kind = kind
        self.engine: subprocess.Popen[bytes] | None = None
        self.meeting = directory / "engine"
        if kind != "embedded":
            group = "null"
            if kind == "apache" and os.geteuid() == 0:
                # As root it becomes another account, which cannot enter our directory.
                self.meeting = Path(tempfile.mkdtemp(prefix="rps-apache-"))
                group = "www-data"
            settings = {f"{kind}.group": group, "listen.port": free_port(), **settings}
        settings = {"engine": kind, "engine_directory": self.meeting, **settings}
        self._given = {
            "directory": directory / "service",
            "tls.ca_directory": directory / "ca",
            **settings,
        }
        super().__init__(directory, **settings)

    def start(self) -> Stand:
        super().start()
        if self.engine is None:
            self.start_engine()
        return self

    def start_engine(self) -> None:
        """Start the engine as its systemd unit does, and wait until it listens."""
        if self.kind == "embedded":
            return
        command = [
            sys.executable,
            "-c",
            "from rps_proxy.cli import proxy; proxy()",
            "engine",
            "run",
        ]
        options = [f"--set={key}={value}" for key, value in self._given.items()]
        with (self.directory / "engine.log").open("ab") as log:
            # A group of its own, since Apache's processes outlive their first one.
            self.engine = subprocess.Popen(
                [*command, *options], stdout=log, stderr=log, process_group=0
            )

        def up() -> bool:
            assert self.engine
            assert self.engine.poll() is None, self.engine_log()
            return listens("127.0.0.1", self.port)

        until(up, "the engine listens")

    def kill_engine(self) -> None:
        """End the engine without notice."""
        if self.engine is not None:
            os.killpg(self.engine.pid, signal.SIGKILL)
            self.engine.wait()
            until(lambda: not listens("127.0.0.1", self.port), "its port is free")

    def remove(self) -> None:
        """Leave nothing behind."""
        if self.meeting.parent != self.directory:
            shutil.rmtree(self.meeting)

    def in_step(self, times: int = 1) -> None:
        """Wait until the engine has had all routes so many times."""
        until(lambda: self.log().count("engine-in-step") >= times, "the engine is in step")

    def engine_log(self) -> str:
        path = self.directory / "engine.log"
        return path.read_text(errors="replace") if path.exists() else ""


@contextmanager
def running(
    directory: Path, kind: str, need: Callable[[str], str], **settings: object
) -> Iterator[Stand]:
    """The service with this engine; where the program is missing the test is left out."""
    program = PROGRAMS[kind]
    if program is not None:
        need(program)
    stand = Stand(directory, kind, **settings)
    try:
        stand.start()
        stand.in_step()
        yield stand
    finally:
        stand.kill_engine()
        if stand.process and stand.process.poll() is None:
            stand.kill()
        stand.remove()


def listens(address: str, port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
