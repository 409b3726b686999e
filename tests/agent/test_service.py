"""The node agent, a real Jupyter and the real service, under the local scheduler."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from rps_core.node.agent.processes import descendants, start_ticks
from rps_core.node.agent.service import Service, ServiceAway, ServiceRefused
from rps_core.plugin import Allocation, Job, SessionSpec
from rps_core.schedulers.local import plugin as local
from tests.stands.agent import CORE, DOMAIN, event, events, gone, session_directory
from tests.stands.satellite import SatelliteServer, running_satellite
from tests.stands.service import free_port
from tests.stands.waiting import until


class RealService:
    """`rps proxy serve` on loopback, which can be killed and restarted on its port."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.directory = directory
        self.ca_file = directory / "ca" / "ca.pem"
        self.client = Service(f"manage.{DOMAIN}", self.port, "127.0.0.1", str(self.ca_file))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        settings = {
            "listen.port": self.port,
            "directory": self.directory / "state",
            "tls.ca_directory": self.directory / "ca",
            "engine": "embedded",
            "lease.length": 3,
            "lease.renew_every": 1,
            "advanced.sweep_every": 0.2,
        }
        options = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        code = "from rps_proxy.cli.main import proxy; proxy()"
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, "serve", *options], stderr=log, stdout=log
            )
        until(self.healthy, "the service")

    def healthy(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "log").read_text()
        try:
            return bool(self.client.request("GET", "/api/v1/health", dict)["status"] == "ok")
        except ServiceAway:
            return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def is_off(self) -> bool:
        """Return whether connections to its port are refused."""
        try:
            socket.create_connection(("127.0.0.1", self.port), 30).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # a worker ended just now, with the connection in its queue
            return False
        return False

    def get(self, name: str, path: str, token: str) -> tuple[int, bytes]:
        """Send a GET as a browser does: through the engine, on the session's host."""
        host = f"{name}.{DOMAIN}"
        context = ssl.create_default_context(cafile=self.ca_file)
        connection = HTTPSConnection(host, self.port, context=context)
        raw = socket.create_connection(("127.0.0.1", self.port), 30)
        connection.sock = context.wrap_socket(raw, server_hostname=host)
        connection.request("GET", path, headers={"Authorization": f"token {token}"})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, content


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RealService]:
    (tmp_path / "service").mkdir(mode=0o700)
    service = RealService(tmp_path / "service")
    try:
        service.start()
        yield service
    finally:
        service.kill()


TOKEN = "5ec4e7" * 5 + "00"


def issue(service: RealService) -> tuple[str, str]:
    """Return a name and its claim."""
    issued = service.client.request("POST", "/api/v1/sessions", dict, {"cluster": "local"})
    return issued["name"], issued["claim"]


@contextmanager
def submitted(
    service: RealService, directory: Path, name: str, claim: str
) -> Iterator[tuple[Path, Job]]:
    """Yield the session's directory, and its job, which has just been started."""
    session = session_directory(directory, name, claim, TOKEN, service.port, service.ca_file)
    spec = SessionSpec(
        name=name,
        tag="tag",
        app="lab",
        template=CORE / "batch" / "jupyterlab.sh",
        session_dir=session,
        directory=session,
        allocation=Allocation(walltime=timedelta(seconds=600)),
    )
    script = session / "batch.sh"
    script.write_text(local.rps_render_batch(spec))
    job = Job(id=local.rps_submit(spec, script), tag="tag", session_dir=session)
    try:
        yield session, job
    finally:
        local.rps_cancel(job)


@contextmanager
def running(service: RealService, directory: Path) -> Iterator[tuple[Path, str, str, Job]]:
    """Yield a session that is ready: its directory, name, claim and job."""
    name, claim = issue(service)
    with submitted(service, directory, name, claim) as (session, job):
        service.client.request(
            "POST", f"/api/v1/sessions/{name}/link", dict, {"job_id": job.id}, claim
        )
        event(session, "ready")
        yield session, name, claim, job


@contextmanager
def satellite_in_its_place(service: RealService, directory: Path) -> Iterator[SatelliteServer]:
    """Replace the service by a satellite with a certificate of the same CA."""
    service.kill()
    until(service.is_off, "its port is free")  # its workers may have it for a moment longer
    with running_satellite(directory, ca=service.directory / "ca", port=service.port) as satellite:
        yield satellite


def phase(service: RealService, name: str, claim: str) -> tuple[str, bool]:
    state = service.client.request("GET", f"/api/v1/sessions/{name}", dict, None, claim)
    return state["phase"], state["live"]


def test_a_session_is_reached_through_the_service_and_cancelled(
    service: RealService, tmp_path: Path
) -> None:
    with running(service, tmp_path / "session") as (session, name, claim, job):
        assert phase(service, name, claim) == ("ready", True)
        assert service.get(name, "/api/status", TOKEN)[0] == 200
        assert service.get(name, "/api/status", "wrong")[0] == 403
        assert local.rps_cancel(job) is True
        assert phase(service, name, claim) == ("gone", False)
        assert b"kernels" not in service.get(name, "/api/status", TOKEN)[1]
    assert not (session / "claim.json").exists()


def test_a_killed_service_costs_no_session(service: RealService, tmp_path: Path) -> None:
    with running(service, tmp_path / "session") as (session, name, claim, _):
        service.kill()
        event(session, "service-away")
        service.start()
        event(session, "service-back")
        assert phase(service, name, claim) == ("ready", True)
        assert service.get(name, "/api/status", TOKEN)[0] == 200


def test_a_satellite_in_its_place_costs_no_session(service: RealService, tmp_path: Path) -> None:
    """An operator who moved over goes back, and later over again."""
    with running(service, tmp_path / "session") as (session, name, claim, _):
        with satellite_in_its_place(service, tmp_path / "satellite") as satellite:
            event(session, "service-away")
            until(lambda: len(satellite.others) > 2, "it goes on asking")
            assert set(satellite.others) == {("POST", f"/api/v1/sessions/{name}/renew")}
            assert b"Please see documentation" in service.get(name, "/", TOKEN)[1]
        assert events(session, "ended") == events(session, "service-back") == []
        service.start()
        event(session, "service-back")
        assert phase(service, name, claim) == ("ready", True)
        assert service.get(name, "/api/status", TOKEN)[0] == 200


def test_a_job_that_starts_at_a_satellite_waits_for_its_own(
    service: RealService, tmp_path: Path
) -> None:
    name, claim = issue(service)
    with contextlib.ExitStack() as stack:
        with satellite_in_its_place(service, tmp_path / "satellite") as satellite:
            job = submitted(service, tmp_path / "session", name, claim)
            session, _ = stack.enter_context(job)
            event(session, "service-away")
            until(lambda: len(satellite.others) > 1, "it goes on asking")
            assert set(satellite.others) == {("POST", f"/api/v1/sessions/{name}/certificate")}
        service.start()
        event(session, "ready")
        assert phase(service, name, claim) == ("ready", True)


def test_a_revoked_claim_ends_the_job(service: RealService, tmp_path: Path) -> None:
    with running(service, tmp_path / "session") as (session, name, claim, job):
        supervisor = int(job.id.partition(".")[0])
        ticks = start_ticks(supervisor)
        assert ticks is not None
        processes = {supervisor: ticks, **descendants(supervisor)}
        service.client.request("POST", f"/api/v1/sessions/{name}/revoke", dict, {}, claim)
        until(lambda: gone(processes), "the end of the job")
        assert events(session, "ended")[0]["cause"] == "revoked"


def test_a_killed_agent_loses_the_route_by_its_lease(service: RealService, tmp_path: Path) -> None:
    with running(service, tmp_path / "session") as (session, name, claim, _):
        os.kill(event(session, "started")["pid"], signal.SIGKILL)
        until(lambda: not phase(service, name, claim)[1], "the end of the lease")
        assert b"kernels" not in service.get(name, "/api/status", TOKEN)[1]


def test_a_suspended_job_gets_its_route_back(service: RealService, tmp_path: Path) -> None:
    with running(service, tmp_path / "session") as (session, name, claim, _):
        processes = [event(session, kind)["pid"] for kind in ("started", "application")]
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        until(lambda: not phase(service, name, claim)[1], "the end of the lease")
        for pid in processes:
            os.kill(pid, signal.SIGCONT)
        until(lambda: phase(service, name, claim)[1], "the route")
        assert service.get(name, "/api/status", TOKEN)[0] == 200


def test_another_claim_renews_nothing(service: RealService, tmp_path: Path) -> None:
    with running(service, tmp_path / "session") as (_, name, claim, _job):
        with pytest.raises(ServiceRefused) as caught:
            service.client.request("POST", f"/api/v1/sessions/{name}/renew", dict, {}, "x" * 43)
        assert (caught.value.status, caught.value.code) == (403, "wrong-claim")
        assert phase(service, name, claim) == ("ready", True)
