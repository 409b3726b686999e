"""The operator's commands, as programs of their own, at a running service."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rps_core.errors import ServiceError
from rps_proxy.cli import admin_client as operate
from rps_proxy.cli.engine import check_engine as check
from rps_proxy.cli.registry_file import backup
from rps_proxy.settings.loading import load
from tests.stands.service import DOMAIN, Service, running_service
from tests.stands.waiting import until

_COMMAND = [sys.executable, "-c", "from rps_core.cli.main import main; main()", "proxy"]


def rps(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`rps proxy ARGUMENTS` at the service of that directory."""
    return subprocess.run(
        [*_COMMAND, *arguments, f"--set=directory={directory / 'service'}"],
        capture_output=True,
        text=True,
        timeout=60,
    )


def output(directory: Path, *arguments: str) -> str:
    done = rps(directory, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def issue_status(service: Service) -> tuple[int, str | None]:
    status, answer = service.call("POST", "sessions", body={})
    return status, answer.get("error")


def test_status_and_sessions(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 100)  # beyond what the path of a Unix socket may have
    deep.mkdir()
    with running_service(deep) as service:
        assert stat.S_IMODE((deep / "service" / "admin.sock").stat().st_mode) == 0o600
        waiting = service.issue(user="ada", cluster="comet")
        with service.notebook() as (ready, notebook):
            found = json.loads(output(deep, "status", "--json"))
            assert found["running"] is True
            assert found["sessions"] == {"issued": 1, "linked": 0, "ready": 1, "gone": 0}
            assert (found["engine_in_step"], found["routes"]) == (True, 1)
            assert (found["domain"], found["draining"]) == (DOMAIN, False)
            assert 59 < found["certificate_days"] <= 60
            assert "in step, 1 routes" in output(deep, "status")
            listed = output(deep, "sessions", "--json")
            by_name = {each["name"]: each for each in json.loads(listed)}
            assert by_name.keys() == {waiting.name, ready.name}
            assert (by_name[waiting.name]["user"], by_name[waiting.name]["live"]) == ("ada", False)
            assert (by_name[ready.name]["port"], by_name[ready.name]["live"]) == (
                notebook.port,
                True,
            )
            for secret in (waiting.claim, ready.claim):
                assert secret not in listed
            assert f"{waiting.name}  issued  ada" in output(deep, "sessions")
        service.stop()
        assert not (deep / "service" / "admin.sock").exists()
        down = rps(deep, "status", "--json")
        assert down.returncode == 4
        found_down = json.loads(down.stdout)
        assert (found_down["running"], found_down["sessions"]) == (False, found["sessions"])
        assert "systemctl start rps-proxy" in " ".join(down.stderr.split())
        assert len(json.loads(output(deep, "sessions", "--json"))) == 2
        # No session lost its lease.
        assert f"{ready.name}  ready" in output(deep, "sessions")
        with contextlib.closing(sqlite3.connect(deep / "service" / "registry.db")) as db, db:
            db.execute("UPDATE sessions SET lapsed = 1 WHERE name = ?", (ready.name,))
        assert f"{ready.name}  lapsed" in output(deep, "sessions")


def test_a_domain_below_another_is_warned_of(tmp_path: Path) -> None:
    with running_service(tmp_path, domain="rps.example.org"):
        below = "--set=domain=rps.example.org"
        shown = output(tmp_path, "status", below)
        assert "warning: scripts of sessions can set cookies for example.org" in shown
        (warning,) = json.loads(output(tmp_path, "status", "--json", below))["warnings"]
        assert "example.org" in warning
        assert "warning" not in output(tmp_path, "status", "--set=domain=rps-example.org")


def test_the_socket_of_a_killed_service_is_not_in_the_way(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        service.kill()
        assert (tmp_path / "service" / "admin.sock").exists()
        assert "not running" in rps(tmp_path, "status").stderr
        service.start()
        assert json.loads(output(tmp_path, "status", "--json"))["running"] is True


def test_revoke(tmp_path: Path) -> None:
    with running_service(tmp_path) as service, service.notebook() as (session, _):
        other = service.issue()
        done = rps(tmp_path, "revoke", session.name, "no-such-name", "--reason", "maintenance")
        assert done.returncode == 7
        assert "no-such-name" in done.stderr
        assert service.request(session.host, "GET", "/").status == 410
        assert service.state(session)["reason"] == "maintenance"
        page = service.request(session.host, "GET", "/", headers={"Accept": "text/html"})
        assert b"Maintenance. The notebook has ended." in page.body
        assert service.state(other)["phase"] == "issued"
        service.stop()
        assert rps(tmp_path, "revoke", other.name).returncode == 4


def test_an_end_is_logged_once(tmp_path: Path) -> None:
    """Test that repeated revocations displace no other end in the audit log."""
    audit = tmp_path / "audit.log"
    settings: dict[str, object] = {"audit.file": audit, "advanced.audit_lines_per_minute": 3}
    with running_service(tmp_path, **settings) as service:
        session, other = service.issue(), service.issue()
        for reason in ("first", *5 * ["again"]):
            path = f"sessions/{session.name}/revoke"
            status, said = service.call("POST", path, session.claim, {"reason": reason})
            assert (status, said["reason"]) == (200, "first")
        service.revoke(other)
        assert service.log().count('"revoked"') == 2
        events = [json.loads(line) for line in audit.read_text().splitlines()]
        ended = [event["name"] for event in events if event["event"] == "revoke"]
        assert ended == [session.name, other.name]


def test_what_launchers_give_is_listed_as_a_quotation(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        session = service.issue(user="root  ready, log in at https://evil.example/ now")
        path = f"sessions/{session.name}/link"
        assert service.call("POST", path, session.claim, {"job_id": "17[3].torque-1"})[0] == 200
        (line,) = output(tmp_path, "sessions").splitlines()
        assert (
            f'{session.name}  linked  "root ready, log in at [address] now"  17[3].torque-1  '
            in line
        )
        path = f"sessions/{session.name}/revoke"
        said = {"reason": "See evil\uff0eexample, or ask admin@evil.example.\u202e"}
        assert service.call("POST", path, session.claim, said)[0] == 200
        assert service.state(session)["reason"] == "See [address], or ask [address]"
        assert "evil" not in service.log().split("log in at", 1)[-1]


def test_draining_outlives_the_service_and_leaves_sessions_alone(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        before = service.issue()
        output(tmp_path, "drain")
        assert issue_status(service) == (503, "draining")
        assert service.call("GET", "health")[1]["draining"] is True
        assert service.redeem(before, 5000)[0] == 200
        service.kill()
        service.start()
        assert issue_status(service) == (503, "draining")
        assert service.renew(before) == 200
        assert "no new names" in output(tmp_path, "status")
        output(tmp_path, "drain", "--off")
        assert issue_status(service) == (201, None)
        service.stop()
        output(tmp_path, "drain")  # without a terminal
        service.start()
        assert issue_status(service) == (503, "draining")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_root_may_drain_a_service_of_another_account_that_is_stopped(tmp_path: Path) -> None:
    directory = tmp_path / "service"
    directory.mkdir(mode=0o700)
    os.chown(directory, 12345, -1)
    output(tmp_path, "drain")
    assert (directory / "draining").exists()
    output(tmp_path, "drain", "--off")
    assert list(directory.iterdir()) == []


def test_a_backup_while_running_has_all_that_was_answered(tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_text("of yesterday")
    limits = {"limits.pending_per_source": 0, "limits.issues_per_minute": 0}
    with running_service(tmp_path, **limits) as service:
        names = {service.issue().name for _ in range(20)}
        enough = threading.Event()
        later: list[str] = []

        def go_on() -> None:
            while not enough.is_set():
                later.append(service.issue().name)

        with ThreadPoolExecutor(1) as pool:
            going_on = pool.submit(go_on)
            try:
                until(lambda: bool(later) or going_on.done(), "names are given meanwhile")
                output(tmp_path, "backup", str(copy))
            finally:
                enough.set()
        going_on.result()
        assert issue_status(service) == (201, None)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.glob("*copy*")] == ["copy.db"]
    with contextlib.closing(sqlite3.connect(copy)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        copied = {name for (name,) in db.execute("SELECT name FROM sessions")}
    assert copied == names | set(later[: len(copied) - len(names)])  # as it was at one moment
    (tmp_path / "restored" / "service").mkdir(mode=0o700, parents=True)
    os.rename(copy, tmp_path / "restored" / "service" / "registry.db")  # noqa: PTH104
    with running_service(tmp_path / "restored"):
        found = json.loads(output(tmp_path / "restored", "sessions", "--json"))
        assert {each["name"] for each in found} == copied


def test_a_backup_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_text("of yesterday")
    assert rps(tmp_path, "backup", str(copy)).returncode == 7
    assert copy.read_text() == "of yesterday"


@pytest.mark.parametrize("where", ["head", "page"])
def test_what_is_damaged_takes_no_copys_place(tmp_path: Path, where: str) -> None:
    registry = tmp_path / "service" / "registry.db"
    with running_service(tmp_path) as service:
        for _ in range(40):
            service.issue()
        service.stop()  # and all is in the one file
    copy = tmp_path / "copy.db"
    copy.write_text("of yesterday")
    content = bytearray(registry.read_bytes())
    begin = {"head": 0, "page": len(content) // 2 // 4096 * 4096}[where]
    content[begin:] = b"\xff" * (len(content) - begin)
    registry.write_bytes(content)
    done = rps(tmp_path, "backup", str(copy))
    assert done.returncode == 4
    assert f"Did not copy the registry {registry}: it is damaged: " in done.stderr
    assert "room" not in done.stderr
    assert copy.read_text() == "of yesterday"
    listed = rps(tmp_path, "sessions")
    assert listed.returncode == 4, listed.stderr
    assert "restore a copy" in " ".join(listed.stderr.split())


def test_a_copy_goes_where_it_can(tmp_path: Path) -> None:
    registry = tmp_path / "service" / "registry.db"
    with running_service(tmp_path) as service:
        before = registry.stat().st_ino
        for place, why in {
            str(registry): "is the registry itself",
            str(tmp_path / "none" / "copy.db"): f"There is no directory {tmp_path / 'none'}",
        }.items():
            done = rps(tmp_path, "backup", place)
            assert done.returncode == 2
            assert why in done.stderr
        assert registry.stat().st_ino == before
        service.issue()


def test_a_reason_is_one_line(tmp_path: Path) -> None:
    done = rps(tmp_path, "revoke", "some-name", "--reason=two\nlines")
    assert done.returncode == 2
    assert "Give one printable line" in done.stderr


def test_nothing_is_made_where_no_service_was(tmp_path: Path) -> None:
    for command in ("status", "sessions", "drain", "backup copy.db"):
        done = rps(tmp_path, *command.split())
        assert done.returncode == 7
        assert "the service creates it at its first start" in done.stderr
    assert not (tmp_path / "service").exists()
    (tmp_path / "service").write_text("no directory")
    assert "the service creates it at its first start" in rps(tmp_path, "status").stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another account")
def test_another_account_gets_an_error(tmp_path: Path) -> None:
    (tmp_path / "service").mkdir(mode=0o700)
    tmp_path.chmod(0o755)
    settings = load(None, [f"directory={tmp_path / 'service'}", "engine=haproxy"])
    # Now, as root: another account may not enter the directory of this Python's own modules.
    importlib.import_module("rps_proxy.engines.external")
    for ask in (
        lambda: operate.status(settings),
        lambda: operate.sessions(settings),
        lambda: backup(settings, tmp_path / "copy.db"),
        lambda: check(settings),
    ):
        os.seteuid(12345)
        try:
            with pytest.raises(ServiceError, match=r"[Oo]nly the .* may") as message:
                ask()
        finally:
            os.seteuid(0)
        assert "Run this as that account, or as root" in message.value.hint


def test_an_admin_socket_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.sock"
    with running_service(tmp_path, **{"admin.socket": path}):
        until(path.is_socket, "the socket is there")
        assert json.loads(output(tmp_path, "status", "--json", f"--set=admin.socket={path}"))[
            "running"
        ]
