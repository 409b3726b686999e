"""The service with an engine of its own: `rps proxy serve`, and where it is not embedded the real
program beside it, in the foreground, on loopback and in a directory of the test's.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.service_stand import Service, until

PROGRAMS = {"embedded": None, "haproxy": "haproxy"}


class Stand(Service):
    """A service and its engine; `port` is where clients come in."""

    def __init__(self, directory: Path, kind: str, **settings: object) -> None:
        self.kind = kind
        self.engine: subprocess.Popen[bytes] | None = None
        settings = {"engine": kind, "engine_directory": directory / "engine", **settings}
        if kind != "embedded":
            settings |= {f"{kind}.group": "null"}
            settings.setdefault("listen.port", free_port())
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
            self.engine = subprocess.Popen([*command, *options], stdout=log, stderr=log)

        def listens() -> bool:
            assert self.engine
            assert self.engine.poll() is None, self.engine_log()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        until(listens, "the engine listens")

    def kill_engine(self) -> None:
        """End the engine without notice."""
        if self.engine is not None:
            self.engine.kill()
            self.engine.wait()

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


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
