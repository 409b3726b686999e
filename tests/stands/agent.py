"""The agent's surroundings: session directory, service API, processes of the job.

The API is a stand-in, because a real service cannot be made to fail on request (answer a renewal with 403,
hang, lose its registry). Jupyter, the agent, TLS and the certificates are real.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, TypeVar

import rps_core
from rps_core.hooks.manager import Plugins
from rps_core.models import Cluster
from rps_core.node import archive
from rps_core.node.agent.processes import descendants, start_ticks
from rps_core.node.agent.sockets import remove_sockets_directory
from rps_proxy.tls.authority import Authority
from tests.stands.tls_server import TlsServer
from tests.stands.waiting import until

DOMAIN = "rps.localhost"
NAME = "able-baker-charlie"
CLAIM = "claim-canary-0123456789abcdefghijklmnopqrstu"
TOKEN = "70cafe0011223344556677889900aabb"
CORE = Path(rps_core.__file__).parent
JUPYTER = Path(sys.executable).with_name("jupyter")

T = TypeVar("T")
Answer = tuple[int, dict[str, Any]]


class StandIn(TlsServer):
    """Serve `/api/v1` for the session NAME.

    `answers[call]` may hold a function that gives the answer to this call; `calls` lists (call, body).
    """

    def __init__(self, directory: Path) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Callable[[dict[str, Any]], Answer]] = {}
        self.renew_every = 0.3
        self.upstream = Authority(directory / "upstream", "upstream", DOMAIN)
        super().__init__(directory, DOMAIN, f"manage.{DOMAIN}")

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """Return a handler that answers every POST with `answer`."""
        stand = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(
                    self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}"
                )
                assert self.headers["Host"] == f"manage.{DOMAIN}:{stand.port}"
                status, answer = stand.answer(self.path, body, self.headers["Authorization"])
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                pass

        return Handler

    def answer(self, path: str, body: dict[str, Any], authorization: str | None) -> Answer:
        call = path.rpartition("/")[2]
        assert path == f"/api/v1/sessions/{NAME}/{call}"
        self.calls.append((call, body))
        if call in self.answers:
            return self.answers[call](body)
        if authorization != f"Bearer {CLAIM}":
            return 403, {"error": "wrong-claim", "message": "no"}
        if call == "certificate":
            leaf = self.upstream.issue([f"{NAME}.{DOMAIN}"], 1)
            ca = self.upstream.certificate.decode()
            pem = {"certificate": leaf.certificate.decode(), "key": leaf.key.decode(), "ca": ca}
            return 200, pem
        if call in ("redeem", "renew"):
            address = "127.0.0.1"
            return 200, {"lease": 45, "renew_every": self.renew_every, "address": address}
        return 200, {"name": NAME, "phase": "gone"}

    def count(self, call: str) -> int:
        return sum(1 for name, _ in self.calls if name == call)


@contextmanager
def stand_in(directory: Path) -> Iterator[StandIn]:
    directory.mkdir()
    stand = StandIn(directory)
    try:
        yield stand
    finally:
        stand.stop()


def make_session(session: Path, stand: StandIn, **launch: object) -> Path:
    """Make a session of the stand-in; `launch` overrides keys of launch.json."""
    return session_directory(session, NAME, CLAIM, TOKEN, stand.port, stand.ca_file, **launch)


def session_directory(
    session: Path, name: str, claim: str, token: str, port: int, ca_file: Path, **launch: object
) -> Path:
    """Make a session directory as the launcher does, for a service on loopback."""
    session.mkdir(mode=0o700)
    notebooks = session.parent / f"{session.name}-notebooks"
    notebooks.mkdir()
    values: dict[str, object] = {
        "version": 1,
        "name": name,
        "host": f"{name}.{DOMAIN}",
        "url": f"https://{name}.{DOMAIN}:{port}/",
        "service": {
            "host": f"manage.{DOMAIN}",
            "port": port,
            "connect": "127.0.0.1",
            "ca_file": "service-ca.pem",
        },
        "directory": str(notebooks),
        "jupyter": str(JUPYTER),
        "port_range": None,
        "start_timeout": 120,
        "walltime": 600,
        "job": job_of("local"),
    }
    private(session / "launch.json", json.dumps(values | launch))
    private(session / "claim.json", json.dumps({"claim": claim, "token": token}))
    shutil.copy(ca_file, session / "service-ca.pem")
    (session / archive.NAME).write_bytes(archive.build())
    shutil.copy(CORE / "batch" / "run-agent.sh", session)
    (session / "interpreters").write_text(f"/nowhere/python\n{sys.executable}\n")
    return session


def private(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text)


def job_of(scheduler: str) -> dict[str, object]:
    """Return the entry of launch.json about the jobs of a scheduler."""
    cluster = Cluster(name="x", site="generic", scheduler=scheduler)
    return Plugins.load().site(cluster).job_traits().for_the_agent()


class Squeue:
    """A stand-in for Slurm's `squeue` (time left); the test sets its output."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._answer = directory / "answer"
        self.calls = directory / "calls"
        self.environment = {"SLURM_JOB_ID": "99", "PATH": f"{directory}:{os.environ['PATH']}"}
        program = directory / "squeue"
        program.write_text(f'#!/bin/sh\necho "$@" >>"{self.calls}"\nexec cat "{self._answer}"\n')
        program.chmod(0o755)

    def answers(self, text: str) -> None:
        """Set the output, atomically: a running squeue never reads half of it."""
        new = self._answer.with_suffix(".new")
        new.write_text(f"{text}\n")
        new.replace(self._answer)


@contextmanager
def agent(
    session: Path,
    app: str = "lab",
    python: str = sys.executable,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the agent as the batch script does; at the end, kill what is left of it."""
    with (session / "job.log").open("ab") as log:
        process = subprocess.Popen(
            [python, "-I", session / archive.NAME, session, "--app", app],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(os.environ, **(env or {})),
        )
    try:
        yield process
    finally:
        left = {process.pid: start_ticks(process.pid), **descendants(process.pid)}
        kill(left)
        process.wait()
        remove_sockets_directory(str(session / "run"))


def kill(processes: Mapping[int, int | None]) -> None:
    for pid, ticks in processes.items():
        if ticks is not None and start_ticks(pid) == ticks:
            os.kill(pid, 9)


def events(session: Path, name: str | None = None) -> list[dict[str, Any]]:
    """Return the agent's events, or those of one name."""
    path = session / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines]
    return [event for event in found if name is None or event["event"] == name]


def event(session: Path, name: str, seconds: float = 90) -> dict[str, Any]:
    """Wait for the first event of this name."""

    def look() -> list[dict[str, Any]]:
        found = events(session, name)
        ended = events(session, "ended")
        log = (session / "job.log").read_text() if (session / "job.log").exists() else ""
        assert found or not ended, f"the session ended: {ended}\n{log}"
        return found

    return until(look, f"event {name}", seconds)[0]


def gone(processes: Mapping[int, int]) -> bool:
    return all(start_ticks(pid) != ticks for pid, ticks in processes.items())
