"""The service with an engine of its own: `rps proxy serve` and the real program.

In the foreground, on loopback and in a directory of the test.
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

from rps_proxy.http.proxy_protocol import header
from tests.stands.service import DOMAIN, Notebook, Service, Session, free_port
from tests.stands.spawner import Spawned
from tests.stands.waiting import until

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
        self._ours = False  # a directory to remove at the end
        self.meeting = Path(str(settings.get("engine_directory", directory / "engine")))
        if kind != "embedded":
            # As root Apache becomes another account, which cannot enter our directory; and that is too long
            # for the name of a socket (HAProxy: 97 bytes).
            self._ours = "engine_directory" not in settings
            if self._ours:
                self.meeting = Path(tempfile.mkdtemp(prefix="rps-engine-"))
            group = "www-data" if kind == "apache" and os.geteuid() == 0 else "null"
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
        """Start the engine as its unit does, or by `command`; wait until it listens."""
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
        """Return the service and the engine, with their children."""
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
        """Stop all of the engine's processes, or continue them."""
        assert self.engine
        os.killpg(self.engine.pid, number)

    def past_the_engine(
        self, path: str, claim: str | None = None, body: object = None, timeout: float = 15
    ) -> tuple[int, dict[str, Any]]:
        """Send a POST of the API to the socket between engine and service.

        Return the answer.

        That is how a call arrives from an engine that hangs or has ended.
        """
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
        """Make the same call, and leave without the answer."""
        client = self.behind(15)
        client.request("POST", f"/api/v1/{path}", *self._call(claim, body))
        try:
            yield
        finally:
            client.close()

    def behind(self, timeout: float) -> http.client.HTTPConnection:
        """Connect to the socket on which the engine reaches the service."""
        return behind(self.meeting / "service.sock", timeout, proxied=self.kind != "apache")

    def caller(self, address: str) -> dict[str, str]:
        """Return the header field that names the caller behind the engine: Apache's alone."""
        return {"X-Rps-Caller": address} if self.kind == "apache" else {}

    def _call(self, claim: str | None, body: object) -> tuple[bytes | None, dict[str, str]]:
        headers = {"Host": f"manage.{DOMAIN}:{self.port}", **self.caller("127.0.0.1")}
        if claim is not None:
            headers["Authorization"] = f"Bearer {claim}"
        return (None if body is None else json.dumps(body).encode()), headers

    def remove(self) -> None:
        """End the engine and remove its files."""
        if self._ours:
            shutil.rmtree(self.meeting)

    def in_step(self, times: int = 1) -> None:
        """Wait until the engine has had all routes so many times."""
        until(lambda: self.log().count("engine-in-step") >= times, "the engine is in step")

    def engine_log(self) -> str:
        path = self.directory / "engine.log"
        return path.read_text(errors="replace") if path.exists() else ""


def behind(
    path: Path, timeout: float, source: str = "127.0.0.1", *, proxied: bool = True
) -> http.client.HTTPConnection:
    """Connect to a service's socket as an engine does for one request of a client."""
    client = http.client.HTTPConnection("service")
    client.sock = socket.socket(socket.AF_UNIX)
    client.sock.settimeout(timeout)
    try:
        client.sock.connect(str(path))
        if proxied:
            client.sock.sendall(header(source))
    except OSError:  # the service is being killed
        client.close()
        raise
    return client


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
    **settings: Any,
) -> Iterator[Stand]:
    """Run the service with this engine; skip without the program."""
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
    """Return whether connections are accepted there."""
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0
