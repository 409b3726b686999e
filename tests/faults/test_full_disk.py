"""A full disk: calls that must write fail completely, and all else continues.

With free space they succeed again. The disk is a small one of the test.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rps_proxy.cli import admin_client as operate
from rps_proxy.settings.loading import load
from rps_proxy.settings.model import Settings
from tests.engines.stand import running
from tests.engines.test_killed import answers
from tests.faults.test_service_restart import refusal, renewed_and_reached
from tests.stands.fake_clock import Clock
from tests.stands.namespaces import own_mounts, small_disk
from tests.stands.service import DOMAIN, Service, running_service
from tests.stands.strike import struck
from tests.stands.waiting import until


@pytest.fixture(autouse=True)
def _mounts() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    with own_mounts():
        yield


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    """Fill the disk completely for the length of the block."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    yield
    filler.unlink()


def refused(service: Service, path: str, claim: str | None = None, body: object = None) -> bool:
    status, answer = service.call("POST", path, claim, body)
    return (status, answer["error"]) == (503, "busy")


def dropped(settings: Settings) -> bool:
    text = operate.ask(settings, "GET", "/metrics") or ""
    found = re.findall(r"^rps_audit_dropped_total\S* (\S+)$", text, flags=re.MULTILINE)
    return any(float(number) for number in found)


def sessions(service: Service) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(service.directory / "service" / "registry.db")) as db:
        return db.execute("SELECT * FROM sessions ORDER BY name").fetchall()


def test_the_registrys_disk(tmp_path: Path) -> None:
    disk = tmp_path / "service"
    disk.mkdir(mode=0o700)
    small_disk(disk, "4m")
    (tmp_path / "log").symlink_to(disk / "log")
    audit = {"audit.file": disk / "audit.log"}
    with running_service(tmp_path, **audit) as service, service.notebook() as (live, _):
        linked, pending = service.issue(), service.issue()
        manage = f"manage.{DOMAIN}"
        satellite = service.request(manage, "GET", "/getlink.cgi").body.decode().split()[-1]
        body = {"port": 5000, "job_id": "1"}
        path = f"sessions/{pending.name}"
        with full(disk):
            # What is left in the pages that the write-ahead log has already.
            until(lambda: refused(service, "sessions", body={}), "it is full")
            before = sessions(service)
            assert refused(service, "sessions", body={})
            assert refused(service, f"{path}/link", pending.claim, body)
            assert refused(service, f"{path}/redeem", pending.claim, body)
            assert refused(service, f"{path}/revoke", pending.claim)
            for call in ("getlink.cgi", f"redeemtoken.cgi?token={satellite}&port=5000"):
                answer = service.request(manage, "GET", f"/{call}")
                text = b"Oops! The registry cannot be written, nothing was done\n"
                assert (answer.status, answer.body) == (503, text)
            assert sessions(service) == before
            assert service.state(pending)["phase"] == "issued"
            assert service.renew(live) == 200
            assert service.request(live.host, "GET", "/").status == 200
            settings = load(None, [f"directory={disk}", "engine=embedded"])
            assert "running" in operate.status(settings)
            metrics = operate.ask(settings, "GET", "/metrics") or ""
            assert 'cause="busy"' in metrics
            # So many lines do not fit into the file's last block; no line is cut.
            until(
                lambda: refused(service, "sessions", body={}) and dropped(settings), "lines dropped"
            )
        assert service.call("POST", f"{path}/link", pending.claim, body)[0] == 200
        service.revoke(linked)
        service.issue()
        assert service.state(pending)["phase"] == "linked"
        assert not list(disk.glob(".*")), "nothing is left of what did not fit"
        events = [
            json.loads(line)["event"] for line in (disk / "audit.log").read_text().splitlines()
        ]
        assert events[-1] == "issue"
        assert "log-lines-lost" in service.log()
        assert '"defect"' not in service.log()


def test_a_session_comes_back_on_a_full_disk(tmp_path: Path) -> None:
    """Test that the registry catches up.

    Else the session would count as lapsed for days.
    """
    disk = tmp_path / "service"
    disk.mkdir(mode=0o700)
    small_disk(disk, "4m")
    lease = {"lease.length": 2, "lease.renew_every": 1, "advanced.sweep_every": 0.2}

    def lapsed(name: str) -> bool:
        with contextlib.closing(sqlite3.connect(disk / "registry.db")) as db:
            found = db.execute("SELECT lapsed FROM sessions WHERE name = ?", (name,)).fetchone()
        return found[0] is not None

    with running_service(tmp_path, **lease) as service, service.notebook() as (session, _):
        until(lambda: lapsed(session.name), "its lease runs out")
        with full(disk):
            until(lambda: refused(service, "sessions", body={}), "it is full")
            until(lambda: renewed_and_reached(service, session), "it is back")
            assert service.renew(session) == 200
            assert lapsed(session.name)

        def noted() -> bool:
            assert service.renew(session) == 200
            return not lapsed(session.name)

        until(noted, "the registry has it")
        assert '"event": "back"' in service.log()


def test_a_certificate_that_is_due_and_a_start(
    tmp_path: Path, need: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test that the certificate is issued anyway; a start reports why it fails."""
    need("faketime")
    disk = tmp_path / "service"
    disk.mkdir(mode=0o700)
    small_disk(disk, "4m")
    clock = Clock(tmp_path / "clock", monkeypatch, steady=False)
    with running_service(tmp_path) as service, service.notebook() as (live, _):
        with full(disk):
            clock.put(45 * 24 * 3600)  # of 60
            until(lambda: "certificate-loaded" in service.log(), "it is made")
            assert "certificate-not-kept" in service.log()
        clock.put(0)
        assert service.stop() == 0
        with full(disk):
            assert "full" in refusal(tmp_path, **{"listen.port": 0})
        service.start()
        assert service.renew(live) == 200


def test_a_disk_that_fails(tmp_path: Path, need: Callable[[str], str]) -> None:
    """Reads and writes of the registry end in an error.

    Traffic goes on, and so does all once they do not.
    """
    need("strace")
    with running_service(tmp_path) as service, service.notebook() as (live, _):
        pending = service.issue()
        path = f"sessions/{pending.name}"
        for call in ("pwrite64", "fdatasync"):
            with struck(service, call, "1+", "error=EIO"):
                assert refused(service, "sessions", body={})
                assert refused(service, f"{path}/link", pending.claim, {"job_id": "1"})
                assert refused(service, f"{path}/revoke", pending.claim)
                assert service.renew(live) == 200
                assert service.request(live.host, "GET", "/").status == 200
            assert service.state(pending)["phase"] == "issued"
        # The next read is of changed files, which are not cached.
        assert service.call("POST", f"{path}/link", pending.claim, {"job_id": "1"})[0] == 200
        with struck(service, "pread64", "1+", "error=EIO"):
            assert refused(service, f"{path}/revoke", pending.claim)
            assert service.request(pending.host, "GET", "/").status == 503
            assert service.request(live.host, "GET", "/").status == 200
        assert service.state(pending)["phase"] == "linked"
        service.revoke(pending)
        assert service.state(pending)["phase"] == "gone"
        service.issue()
        assert '"defect"' not in service.log()


@pytest.mark.parametrize("kind", ["haproxy", "apache"])
def test_the_engines_disk(kind: str, tmp_path: Path, need: Callable[[str], str]) -> None:
    """Test the disk with the routes; HAProxy also has them in memory."""
    disk = Path(tempfile.mkdtemp(prefix="rps-disk-"))  # Apache's account cannot enter `tmp_path`
    try:
        small_disk(disk, "2m")
        with (
            running(tmp_path, kind, need, engine_directory=disk) as stand,
            stand.notebook() as (live, _),
            stand.notebook() as (ended, _),
        ):
            routes = {f"{session.name}.{DOMAIN}": session for session in (live, ended)}
            if kind == "haproxy":
                file = disk / "routes.map"
                until(
                    lambda: all(host in file.read_text() for host in routes), "the file is written"
                )
            with full(disk):
                assert stand.renew(live) == 200
                assert answers(stand, live, 200)
                stand.revoke(ended)
                until(lambda: answers(stand, ended, 410), "what is revoked is out at once")
                if kind == "haproxy":
                    until(lambda: "routes-not-written" in stand.log(), "it is said")
                    assert ended.name in file.read_text()
            with stand.notebook() as (new, _):
                until(lambda: answers(stand, new, 200), "a new route")
                if kind == "haproxy":
                    until(lambda: new.name in file.read_text(), "the file has it")
                    assert ended.name not in file.read_text()
            assert answers(stand, ended, 410)
            assert '"defect"' not in stand.log()
    finally:
        subprocess.run(["umount", str(disk)], check=False)
        disk.rmdir()
