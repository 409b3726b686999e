"""Restarts: of the service, of each engine, from an old copy of the registry.

Also beside another service, and with the files that a kill left behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rps_proxy.cli import admin_client as operate
from rps_proxy.cli.registry_file import backup
from rps_proxy.settings.loading import load
from rps_proxy.settings.model import ADMIN_SOCKET_FILE
from tests.engines.stand import PROGRAMS, Stand, running
from tests.engines.test_killed import answers
from tests.stands.service import (
    Notebook,
    Service,
    Session,
    free_port,
    read_exactly,
    read_head,
    running_service,
    upgrade_request,
)
from tests.stands.waiting import until

SIZE = 4 << 20  # bytes of an upload
SHORT = {"lease.length": 2, "lease.renew_every": 1, "advanced.sweep_every": 0.2}
FRAME = b"\x81\x82\0\0\0\0hi"


@contextlib.contextmanager
def half_an_upload(service: Service, session: Session) -> Iterator[ssl.SSLSocket]:
    with service.connect(session.host) as connection:
        head = f"POST /take HTTP/1.1\r\nHost: {session.host}\r\nContent-Length: {SIZE}\r\n\r\n"
        connection.sendall(head.encode() + bytes(SIZE // 2))
        yield connection


@contextlib.contextmanager
def websocket(service: Service, session: Session) -> Iterator[ssl.SSLSocket]:
    with service.connect(session.host) as connection:
        connection.sendall(upgrade_request(session.host, Origin=f"https://{session.host}"))
        assert " 101 " in read_head(connection)
        yield connection


def rest(connection: ssl.SSLSocket) -> bytes:
    """Return all further bytes, until the end."""
    answer = b""
    with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
        while part := connection.recv(1 << 16):
            answer += part
    return answer


@pytest.mark.parametrize("kind", PROGRAMS)
def test_the_engine_is_restarted(kind: str, tmp_path: Path, need: Callable[[str], str]) -> None:
    """Test that transfers are cut off visibly, not truncated; all else is back."""
    with running(tmp_path, kind, need) as stand, stand.notebook() as (session, notebook):
        with websocket(stand, session) as talking, half_an_upload(stand, session) as upload:
            talking.sendall(FRAME)
            read_exactly(talking, 2)
            until(lambda: "POST /take HTTP/1.1" in notebook.requests, "the upload has begun")
            if stand.kind == "embedded":
                assert stand.stop() == 0
                stand.start()
            else:
                stand.signal_engine(signal.SIGTERM)
                assert stand.engine
                stand.engine.wait(20)
                stand.start_engine()
            assert not rest(upload).startswith(b"HTTP/1.1 200")
            rest(talking)
            assert notebook.broken_off.wait(20)
        until(lambda: answers(stand, session, 200), "the route")
        with websocket(stand, session) as talking:
            talking.sendall(FRAME)
            read_exactly(talking, 2)
        assert stand.renew(session) == 200


@pytest.mark.parametrize("kind", ["haproxy", "apache"])
def test_the_service_is_restarted_beside_its_engine(
    kind: str, tmp_path: Path, need: Callable[[str], str]
) -> None:
    """The engine carries on what it carries.

    Of Apache the websockets are the service's.
    """
    with running(tmp_path, kind, need) as stand, stand.notebook() as (session, notebook):
        with websocket(stand, session) as talking, half_an_upload(stand, session) as upload:
            until(lambda: "POST /take HTTP/1.1" in notebook.requests, "the upload has begun")
            assert stand.stop() == 0
            assert answers(stand, session, 200)
            stand.start()
            upload.sendall(bytes(SIZE - SIZE // 2))
            assert " 200 " in read_head(upload)
            if kind == "haproxy":
                talking.sendall(FRAME)
                read_exactly(talking, 2)
            else:
                rest(talking)
        assert '"defect"' not in stand.log()


def test_told_to_stop_it_answers_what_it_has_begun(tmp_path: Path) -> None:
    limits = {"limits.pending_per_source": 0, "limits.issues_per_minute": 0}
    with running_service(tmp_path, **limits) as service:
        answered: list[Session] = []
        odd: list[object] = []

        def ask() -> None:
            while True:
                try:
                    answered.append(service.issue())
                except (OSError, ValueError):
                    return
                except AssertionError as error:  # a wrong answer
                    odd.append(error)
                    return

        clients = [threading.Thread(target=ask) for _ in range(8)]
        for client in clients:
            client.start()
        until(lambda: len(answered) > 50, "names are issued")
        assert service.stop() == 0
        for client in clients:
            client.join()
        assert odd == []
        assert '"defect"' not in service.log()
        assert not (tmp_path / "service" / ADMIN_SOCKET_FILE).exists()
        service.start()
        for session in answered:
            assert service.state(session)["phase"] == "issued"


def test_an_old_copy_of_the_registry(tmp_path: Path) -> None:
    """Test that an ended session returns for one lease, without a target."""
    with running_service(tmp_path, **SHORT) as service:
        registry = tmp_path / "service" / "registry.db"
        settings = load(None, [f"directory={registry.parent}", "engine=embedded"])
        with service.notebook() as (ended, notebook):
            port = notebook.port
            backup(settings, tmp_path / "copy")
            service.revoke(ended)
        later = service.issue()
        assert service.stop() == 0
        assert operate.status(settings)["running"] is False
        for name in ("registry.db-wal", "registry.db-shm"):
            (registry.parent / name).unlink(missing_ok=True)
        shutil.copy(tmp_path / "copy", registry)
        service.start()
        new = service.issue()
        with Notebook(service.certificate(new), tmp_path, port) as taken:
            until(lambda: service.state(ended)["live"] is False, "its lease runs out")
            assert service.request(ended.host, "GET", "/").status in (502, 503)
            assert taken.requests == []
            assert service.redeem(new, port)[0] == 200
            assert service.request(new.host, "GET", "/").status == 200
        status, answer = service.call("GET", f"sessions/{later.name}", later.claim)
        assert (status, answer["error"]) == (404, "unknown-name")


def refused(stand: Stand, directory: Path, **changed: object) -> str:
    """Return the error of a service that does not start."""
    settings = {
        "directory": directory / "service",
        "tls.ca_directory": directory / "ca",
        "engine": stand.kind,
        f"{stand.kind}.group": "null",
        "engine_directory": stand.meeting,
        "listen.port": free_port(),
        **changed,
    }
    command = [sys.executable, "-c", "from rps_core.cli.main import main; main()", "proxy", "serve"]
    command += [f"--set={key}={value}" for key, value in settings.items()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 4, run.stderr
    return run.stderr


def refused_engine(stand: Stand) -> str:
    """Return the error of `rps proxy engine run` that does not start."""
    log = stand.directory / "refused.log"
    process = stand.run("engine run", stand.given, log)
    try:
        assert process.wait(60) != 0, log.read_text()
    finally:
        process.kill()
    return log.read_text()


def test_two_services_with_one_engine(tmp_path: Path, need: Callable[[str], str]) -> None:
    with running(tmp_path, "haproxy", need) as stand, stand.notebook() as (session, _):
        (tmp_path / "other").mkdir()
        said = refused(stand, tmp_path / "other")
        assert "Another service is running" in said
        assert "engine_directory" in said
        assert answers(stand, session, 200)
        assert stand.renew(session) == 200


@pytest.mark.parametrize("kind", ["haproxy", "apache"])
def test_a_second_engine(kind: str, tmp_path: Path, need: Callable[[str], str]) -> None:
    """Test that a second HAProxy does not take over the control socket of the first."""
    with running(tmp_path, kind, need) as stand, stand.notebook() as (session, _):
        assert "another engine runs on" in refused_engine(stand)
        assert answers(stand, session, 200)
        stand.revoke(session)
        assert answers(stand, session, 410)
        stand.kill_engine()
        stand.start_engine()


def test_an_engine_that_root_starts_for_another_account(
    tmp_path: Path, need: Callable[[str], str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("for root alone")
    with running(tmp_path, "haproxy", need) as stand:
        stand.kill_engine()
        os.chown(stand.meeting / "run", 65534, -1)
        assert "it would run as root" in refused_engine(stand)


def test_an_engines_directory_whose_mode_was_changed(
    tmp_path: Path, need: Callable[[str], str]
) -> None:
    """Others must not write there; where the engine could not enter, it can again."""
    with running(tmp_path, "haproxy", need) as stand, stand.notebook() as (session, _):
        stand.meeting.chmod(0o700)
        assert answers(stand, session, 200)
        assert stand.stop() == 0
        stand.meeting.chmod(0o777)
        said = refused(stand, tmp_path, **{"listen.port": stand.port})
        assert f"{stand.meeting} is not safe" in said
        stand.meeting.chmod(0o700)
        stand.start()
        assert stand.meeting.stat().st_mode & 0o777 == 0o750
        assert stand.renew(session) == 200


def test_what_a_kill_leaves_behind_is_no_obstacle(
    tmp_path: Path, need: Callable[[str], str]
) -> None:
    with running(tmp_path, "haproxy", need) as stand, stand.notebook() as (session, _):
        stand.kill()
        settings = load(None, [f"directory={tmp_path / 'service'}", "engine=embedded"])
        assert (tmp_path / "service" / ADMIN_SOCKET_FILE).exists()
        assert operate.status(settings)["running"] is False
        for name in (".routes.map.new", ".haproxy.cfg.new"):  # killed as it wrote them
            (stand.meeting / name).write_text("half a l")
            os.chown(stand.meeting / name, os.geteuid(), -1)
        stand.start()
        assert operate.status(settings)["running"] is True
        assert stand.renew(session) == 200
        assert answers(stand, session, 200)
