"""The service after kill -9, a freeze, a full disk; its errors at the start."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from rps_proxy.cli import admin_client as operate
from rps_proxy.settings.loading import load
from rps_proxy.tls.authority import Authority, Leaf
from tests.stands.service import (
    DOMAIN,
    Notebook,
    Service,
    Session,
    free_port,
    read_head,
    running_service,
)
from tests.stands.waiting import until

SHORT = {"lease.length": 1, "lease.renew_every": 0.4, "advanced.sweep_every": 0.2}


def phase(service: Service, session: Session) -> str:
    return str(service.request(session.host, "GET", "/.rps/state").json()["phase"])


def renewed_and_reached(service: Service, session: Session) -> bool:
    """Return whether its notebook answers once its lease is renewed.

    The lease may expire again before the request.
    """
    assert service.renew(session) == 200
    return service.request(session.host, "GET", "/").status == 200


def drain(connection: ssl.SSLSocket) -> None:
    """Read what is still under way; fails if it goes on."""
    end = time.monotonic() + 20
    with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
        while connection.recv(1 << 16):
            assert time.monotonic() < end, "the transfer goes on"


def test_an_answer_means_committed(tmp_path: Path) -> None:
    """Test eight clients that request names while the service is killed."""
    with running_service(
        tmp_path, **{"limits.pending_per_source": 0, "limits.pending_per_user": 0}
    ) as service:
        answered: list[Session] = []

        def ask() -> None:
            while True:
                try:
                    answered.append(service.issue())
                except (OSError, ValueError):
                    return  # it was killed, perhaps during an answer

        clients = [threading.Thread(target=ask) for _ in range(8)]
        for client in clients:
            client.start()
        until(lambda: len(answered) > 100, "names are issued")
        service.kill()
        for client in clients:
            client.join()
        service.start()
        assert len({session.name for session in answered}) == len(answered)
        for session in answered:
            assert service.state(session)["phase"] == "issued"


@pytest.mark.parametrize("step", ["link", "redeem", "revoke"])
def test_each_step_is_there_after_a_kill_that_follows_at_once(tmp_path: Path, step: str) -> None:
    with running_service(tmp_path) as service:
        for _ in range(5):
            session = service.issue()
            body = {"port": 5000, "job_id": "1"}
            path = f"sessions/{session.name}/{step}"
            assert service.call("POST", path, session.claim, body)[0] == 200
            service.kill()
            service.start()
            expected = {"link": "linked", "redeem": "ready", "revoke": "gone"}[step]
            assert service.state(session)["phase"] == expected


def test_a_live_session_answers_after_kill_and_restart(tmp_path: Path) -> None:
    with running_service(tmp_path) as service, service.notebook() as (session, _):
        port = service.port
        assert service.request(session.host, "GET", "/").status == 200
        service.kill()
        service.start()
        assert service.port == port
        assert service.request(session.host, "GET", "/").status == 200
        assert service.renew(session) == 200


def test_a_session_without_renewals_lapses_and_returns(tmp_path: Path) -> None:
    with running_service(tmp_path, **SHORT) as service, service.notebook() as (session, _):
        with service.connect(session.host) as connection:
            connection.sendall(f"GET /endless HTTP/1.1\r\nHost: {session.host}\r\n\r\n".encode())
            read_head(connection)
            until(lambda: phase(service, session) == "lapsed", "the lease runs out")
            drain(connection)
        page = service.request(session.host, "GET", "/", headers={"Accept": "text/html"})
        assert page.status == 503
        assert b'data-state="lapsed"' in page.body
        assert service.state(session)["live"] is False
        until(lambda: renewed_and_reached(service, session), "it is back")


def test_what_had_lapsed_stays_off_over_a_restart(tmp_path: Path) -> None:
    with running_service(tmp_path, **SHORT) as service, service.notebook() as (session, _):
        until(lambda: phase(service, session) == "lapsed", "the lease runs out")
        service.kill()
        service.start()
        assert phase(service, session) == "lapsed"
        until(lambda: renewed_and_reached(service, session), "it is back")


def test_an_outage_of_the_service_costs_no_lease(tmp_path: Path) -> None:
    settings = {"lease.length": 4, "lease.renew_every": 1, "advanced.sweep_every": 0.5}
    with running_service(tmp_path, **settings) as service, service.notebook() as (session, _):
        assert service.process
        service.process.send_signal(signal.SIGSTOP)
        time.sleep(5)
        service.process.send_signal(signal.SIGCONT)
        assert service.request(session.host, "GET", "/").status == 200
        service.kill()
        time.sleep(5)
        service.start()
        assert phase(service, session) == "ready"


def test_a_full_disk_is_reported_and_passes(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        assert service.process
        for _ in range(60):
            session = service.issue()
        _, hard = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (64 * 1024, hard))
        status, answer = service.call("POST", "sessions", body={})
        assert (status, answer["error"]) == (503, "busy")
        assert service.state(session)["phase"] == "issued"
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        service.issue()
        settings = load(None, [f"directory={service.directory / 'service'}"])
        message = operate.ask(settings, "GET", "/metrics")
        assert message is not None
        assert 'rps_refused_total{call="api",cause="busy"} 1.0' in message.splitlines()


def issue_files(tmp_path: Path, leaf: Leaf) -> None:
    (tmp_path / "front.crt").write_bytes(leaf.certificate)
    (tmp_path / "front.key").write_bytes(leaf.key)


def test_a_renewed_certificate_is_taken_up_and_a_broken_one_is_not(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca", "test", DOMAIN)
    hosts = (DOMAIN, f"*.{DOMAIN}")
    issue_files(tmp_path, authority.issue(hosts, 30))
    files = {"tls.certificate": tmp_path / "front.crt", "tls.key": tmp_path / "front.key"}

    def shown(service: Service) -> bytes | None:
        with service.connect(f"manage.{DOMAIN}") as connection:
            return connection.getpeercert(binary_form=True)

    with running_service(tmp_path, **files) as service:
        first = shown(service)
        (tmp_path / "front.crt").write_text("broken")
        until(lambda: "certificate-not-loaded" in service.log(), "the broken one is noticed")
        assert shown(service) == first
        new = authority.issue(hosts, 30)
        issue_files(tmp_path, new)
        until(lambda: shown(service) != first, "the new one is shown")
        assert shown(service) == ssl.PEM_cert_to_DER_cert(new.certificate.decode())


def refusal(directory: Path, **settings: object) -> str:
    """Return the error of `rps proxy serve` when it cannot start."""
    command = [sys.executable, "-c", "from rps_core.cli.main import main; main()", "proxy", "serve"]
    settings = {
        "directory": directory / "service",
        "tls.ca_directory": directory / "ca",
        "engine": "embedded",
        **settings,
    }
    command += [f"--set={key}={value}" for key, value in settings.items()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode in (2, 4), run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
    return run.stderr


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refusal(tmp_path, **{"listen.port": port})
    assert f"port {port}" in said
    assert "listen.port" in said


def test_an_address_that_the_machine_does_not_have(tmp_path: Path) -> None:
    said = refusal(tmp_path, **{"listen.address": "192.0.2.7", "listen.port": 0})
    assert "Cannot assign requested address\n`ip address` shows" in said


def test_two_services_on_one_directory(tmp_path: Path) -> None:
    with running_service(tmp_path):
        assert "Another service is running" in refusal(tmp_path, **{"listen.port": 0})


def spoil_open(directory: Path) -> None:
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)


def spoil_link(directory: Path) -> None:
    directory.with_name("elsewhere").mkdir(mode=0o700)
    directory.symlink_to(directory.with_name("elsewhere"))


def spoil_file(directory: Path) -> None:
    directory.write_text("")


@pytest.mark.parametrize("spoil", [spoil_open, spoil_link, spoil_file])
def test_a_directory_that_is_not_ours_alone(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(tmp_path / "service")
    assert str(tmp_path / "service") in refusal(tmp_path, **{"listen.port": 0})


def test_a_directory_of_another_user(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make one")
    (tmp_path / "service").mkdir(mode=0o700)
    os.chown(tmp_path / "service", 12345, -1)
    assert "belongs to user 12345" in refusal(tmp_path, **{"listen.port": 0})


def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca", "test", DOMAIN)
    names = [DOMAIN, f"*.{DOMAIN}"]
    issue_files(tmp_path, authority.issue(names, 30))
    (tmp_path / "other.key").write_bytes(authority.issue(names, 30).key)
    given = {"tls.certificate": tmp_path / "front.crt", "listen.port": 0}
    key = load_pem_private_key((tmp_path / "front.key").read_bytes(), None)
    (tmp_path / "closed.key").write_bytes(
        key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a passphrase")
        )
    )
    for file, why in {
        "other.key": "the key is another certificate's",
        "none.key": f"{tmp_path / 'none.key'}: No such file or directory",
        "front.crt": "the key is not in PEM format",
        "closed.key": "the key has a passphrase",
    }.items():
        said = refusal(tmp_path, **given, **{"tls.key": tmp_path / file})
        assert f"front.crt with the key {tmp_path / file} cannot be used: {why}\n" in said
    swapped = {**given, "tls.certificate": tmp_path / "other.key"}
    said = refusal(tmp_path, **swapped, **{"tls.key": tmp_path / "other.key"})
    assert "cannot be used: the certificate is not in PEM format\n" in said


def test_a_ca_that_is_damaged_or_for_another_domain(tmp_path: Path) -> None:
    Authority(tmp_path / "ca", "test", "other.example")
    assert "another domain" in refusal(tmp_path, **{"listen.port": 0})
    (tmp_path / "ca" / "authority.pem").write_text("damaged")
    assert "damaged" in refusal(tmp_path, **{"listen.port": 0})


def advised(text: str) -> str:
    """Return the command that an error gives."""
    command = r"`((?:mv|chmod|chown|\().*?)`|(chmod go-w \S+)\. "
    found = re.findall(command, " ".join(text.split()))
    assert len(found) == 1, text
    return "".join(found[0])


def follow(advice: str) -> None:
    subprocess.run(["bash", "-ec", advised(advice)], check=True)


def test_the_advice_helps_where_the_domain_changed(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        service.stop()
    domain = {"domain": "other.localhost", "listen.port": 0}
    for directory in ("ca", "service/upstream"):
        said = refusal(tmp_path, **domain)
        assert str(tmp_path / directory) in advised(said)
        follow(said)
    with running_service(tmp_path, domain="other.localhost"):
        pass


@pytest.mark.parametrize("directory", ["ca", "service/upstream"])
def test_the_advice_helps_where_a_ca_is_damaged(directory: str, tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        service.stop()
        (tmp_path / directory / "authority.pem").write_text("damaged")
        follow(refusal(tmp_path, **{"listen.port": 0}))
        service.start()


def test_the_advice_helps_where_files_are_open_or_missing(tmp_path: Path) -> None:
    key = tmp_path / "issue.key"
    settings = {"networks.issue_key_file": key}
    follow(refusal(tmp_path, **settings, **{"listen.port": 0}))
    assert len(key.read_text().strip()) == 64
    with running_service(tmp_path, **settings) as service:
        service.stop()
        for path in (key, tmp_path / "service", tmp_path / "ca"):
            path.chmod(0o755)
            follow(refusal(tmp_path, **settings, **{"listen.port": 0}))
        service.start()


@pytest.mark.parametrize("engine", ["haproxy", "apache"])
def test_the_advice_helps_with_the_engines_directory(engine: str, tmp_path: Path) -> None:
    settings = {"engine": engine, f"{engine}.group": "null", "listen.port": free_port()}
    meeting = tmp_path / "engine"
    meeting.mkdir()
    meeting.chmod(0o777)
    follow(refusal(tmp_path, **settings, engine_directory=meeting))
    with running_service(tmp_path, **settings, engine_directory=meeting):
        pass
    said = refusal(tmp_path, **settings, engine_directory=tmp_path / ("a" * 110))
    assert "AF_UNIX path too long\nThe path of a Unix socket has at most 107 characters" in said


def test_a_registry_of_another_time(tmp_path: Path) -> None:
    (tmp_path / "service").mkdir(mode=0o700)
    (tmp_path / "service" / "registry.db").write_bytes(b"not a database" * 100)
    assert "registry.db" in refusal(tmp_path, **{"listen.port": 0})


def test_a_notebook_on_the_port_of_another_job(tmp_path: Path) -> None:
    """The job died, its lease has not run out yet, and another job got its port."""
    with running_service(tmp_path) as service:
        with service.notebook() as (dead, notebook):
            port = notebook.port
        living = service.issue()
        with Notebook(service.certificate(living), tmp_path, port) as notebook:
            assert service.redeem(living, port)[0] == 200
            assert service.request(living.host, "GET", "/").status == 200
            assert service.request(dead.host, "GET", "/secret").status == 502
            assert notebook.requests == ["GET / HTTP/1.1"]
