"""The service with an engine of its own: `rps proxy serve`, and where it is not embedded the real
program beside it, in the foreground, on loopback and in a directory of the test's.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.service_stand import DOMAIN, Notebook, Service, Session, free_port, until
from tests.faults.spawner import Spawned, Spawner

# The embedded engine in the service's process, and in workers.
PROGRAMS = {"embedded": None, "workers": None, "haproxy": "haproxy", "apache": "apache2"}


class Stand(Service):
    """A service and its engine; `port` is where clients come in."""

    def __init__(self, directory: Path, kind: str, **settings: object) -> None:
        if kind == "workers":
            kind = "embedded"
            settings = {"workers": 2, **settings}
        self.kind = kind
        self.engine: subprocess.Popen[bytes] | Spawned | None = None
        self._ours = False  # a directory that we are to remove
        self.meeting = Path(str(settings.get("engine_directory", directory / "engine")))
        if kind != "embedded":
            group = "null"
            if kind == "apache" and os.geteuid() == 0:
                # As root it becomes another account, which cannot enter our directory.
                group = "www-data"
                self._ours = "engine_directory" not in settings
                if self._ours:
                    self.meeting = Path(tempfile.mkdtemp(prefix="rps-apache-"))
            settings = {f"{kind}.group": group, "listen.port": free_port(), **settings}
        settings = {"engine": kind, "engine_directory": self.meeting, **settings}
        self.given = {
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

    def start_engine(self, command: list[str] | None = None) -> None:
        """Start the engine as its systemd unit does, or by `command`, and wait until it listens."""
        if self.kind == "embedded":
            return
        log = self.directory / "engine.log"
        # In a group of its own, since Apache's processes outlive their first one.
        if command is None:
            self.engine = self.run("engine run", self.given, log)
        else:
            with log.open("ab") as file:
                self.engine = subprocess.Popen(command, stdout=file, stderr=file, process_group=0)

        def up() -> bool:
            assert self.engine
            assert self.engine.poll() is None, self.engine_log()
            return listens("127.0.0.1", self.port)

        until(up, "the engine listens")

    def processes(self) -> list[int]:
        """The service and the engine, with what they started."""
        tree = [each.pid for each in (self.process, self.engine) if each]
        for pid in tree:  # grows on the way
            for task in Path(f"/proc/{pid}/task").iterdir():
                tree += map(int, (task / "children").read_text().split())
        return tree

    def kill_engine(self) -> None:
        """End the engine without notice."""
        if self.engine is not None:
            with suppress(ProcessLookupError):  # it ended by itself
                os.killpg(self.engine.pid, signal.SIGKILL)
            self.engine.wait()
            until(lambda: not listens("127.0.0.1", self.port), "its port is free")

    def signal_engine(self, number: int) -> None:
        """Stop all of its processes where they are, or let them go on."""
        assert self.engine
        os.killpg(self.engine.pid, number)

    def past_the_engine(
        self, path: str, claim: str | None = None, body: object = None, timeout: float = 15
    ) -> tuple[int, dict[str, Any]]:
        """A POST of the API on the socket on which the engine reaches the service, as one that hangs or is
        gone would pass it on: status and answer."""
        if self.kind == "embedded":
            return self.call("POST", path, claim, body)
        client = self.behind(timeout)
        try:
            client.request("POST", f"/api/v1/{path}", *self._call(claim, body))
            response = client.getresponse()
            return response.status, json.loads(response.read())
        finally:
            client.close()

    @contextmanager
    def unanswered(self, path: str, claim: str, body: object = None) -> Iterator[None]:
        """The same call, made by who goes away without the answer."""
        client = self.behind(15)
        client.request("POST", f"/api/v1/{path}", *self._call(claim, body))
        try:
            yield
        finally:
            client.close()

    def behind(self, timeout: float) -> http.client.HTTPConnection:
        """A connection to the socket on which the engine reaches the service."""
        client = http.client.HTTPConnection("service")
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.settimeout(timeout)
        client.sock.connect(str(self.meeting / "service.sock"))
        return client

    def _call(self, claim: str | None, body: object) -> tuple[bytes | None, dict[str, str]]:
        headers = {"Host": f"manage.{DOMAIN}:{self.port}", "X-Rps-Caller": "127.0.0.1"}
        if claim is not None:
            headers["Authorization"] = f"Bearer {claim}"
        return (None if body is None else json.dumps(body).encode()), headers

    def remove(self) -> None:
        """Leave nothing behind."""
        if self._ours:
            shutil.rmtree(self.meeting)

    def in_step(self, times: int = 1) -> None:
        """Wait until the engine has had all routes so many times."""
        until(lambda: self.log().count("engine-in-step") >= times, "the engine is in step")

    def engine_log(self) -> str:
        path = self.directory / "engine.log"
        return path.read_text(errors="replace") if path.exists() else ""


class Carried(NamedTuple):
    """A session that is ready, with its notebook."""

    stand: Stand
    session: Session
    notebook: Notebook


@contextmanager
def running(
    directory: Path,
    kind: str,
    need: Callable[[str], str],
    spawner: Spawner | None = None,
    **settings: Any,
) -> Iterator[Stand]:
    """The service with this engine; where the program is missing the test is left out."""
    program = PROGRAMS[kind]
    if program is not None:
        need(program)
    stand = Stand(directory, kind, **settings)
    stand.spawner = spawner
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
