"""Names for users who prove their identity, with a real munged and its programs."""

from __future__ import annotations

import http.client
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rps_core.errors import ServiceError
from rps_core.protocol import munge_payload
from rps_core.proxy_client.munge import credential
from rps_core.proxy_client.rps import RpsClient
from rps_core.state.record import Endpoint
from rps_proxy.cli import admin_client as operate
from rps_proxy.settings.loading import load
from tests.conftest import OrdinaryUser
from tests.stands.munged import Munged, munged_program, running_munged
from tests.stands.service import DOMAIN, Answer, Service, running_service
from tests.stands.waiting import until

STATUS = [sys.executable, "-c", "from rps_core.cli.main import main; main()", "proxy", "status"]
MANAGE = f"manage.{DOMAIN}"
BODY = b'{"cluster": "comet", "user": "somebody-else"}'


@pytest.fixture(scope="module")
def munged(need: Callable[[str], str]) -> Iterator[Munged]:
    with running_munged(munged_program(need)) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def service(munged: Munged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {
        "auth": "munge",
        "munge.socket": munged.socket,
        "limits.pending_per_user": 3,
    }
    with running_service(tmp_path_factory.mktemp("service"), **settings) as service:
        yield service


def asked(
    service: Service, *credentials: str, body: bytes = BODY, source: str = "127.0.0.1"
) -> tuple[int, str]:
    """Return the status and the error's code, or the name."""
    client = http.client.HTTPConnection("service")
    client.sock = service.connect(MANAGE, source)
    try:
        client.putrequest("POST", "/api/v1/sessions", skip_host=True)
        client.putheader("Host", MANAGE)
        client.putheader("Content-Length", str(len(body)))
        for each in credentials:
            client.putheader("X-Rps-Munge", each)
        client.endheaders(body)
        response = client.getresponse()
        answer = Answer(response.status, response.headers, response.read()).json()
    finally:
        client.close()
    return response.status, answer.get("error") or answer["name"]


def made(munged: Munged, content: bytes, *options: str, user: OrdinaryUser | None = None) -> str:
    """Return a credential for any content, as anybody."""
    command = ["munge", f"--socket={munged.socket}", *options]
    if user is not None:
        return user.run(
            command, input=content.decode(), capture_output=True, check=True
        ).stdout.strip()
    done = subprocess.run(command, input=content, capture_output=True, check=True)
    return done.stdout.decode().strip()


def row(service: Service, name: str) -> tuple[str, int]:
    with sqlite3.connect(service.directory / "service" / "registry.db", timeout=5) as db:
        found = db.execute("SELECT user, authenticated FROM sessions WHERE name = ?", (name,))
        return tuple(found.fetchone())


def revoke_all(service: Service) -> None:
    with sqlite3.connect(service.directory / "service" / "registry.db", timeout=5) as db:
        db.execute("UPDATE sessions SET phase = 3, ended = 1")


def test_the_registry_knows_who_asked(
    service: Service, munged: Munged, ordinary_user: OrdinaryUser
) -> None:
    status, name = asked(service, made(munged, munge_payload(MANAGE, BODY), user=ordinary_user))
    assert status == 201, name
    assert row(service, name) == (ordinary_user.name, 1)


def test_no_user_gets_a_name_without(service: Service) -> None:
    assert asked(service) == (401, "munge-required")


def test_once_only(service: Service, munged: Munged) -> None:
    revoke_all(service)
    shown = credential(MANAGE, BODY, munged.socket)
    assert asked(service, shown)[0] == 201
    assert asked(service, shown) == (403, "munge-replayed")
    assert asked(service, shown, source="127.0.0.3") == (403, "munge-replayed")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        BODY,
        munge_payload(MANAGE, b"{}"),
        munge_payload(f"manage.other.{DOMAIN}", BODY),
        munge_payload(MANAGE, BODY).rstrip(),
        munge_payload(MANAGE, BODY) + b"\n",
        b"STATUS: 0\nUID: 0\n\n" + munge_payload(MANAGE, BODY),
    ],
)
def test_made_for_something_else(service: Service, munged: Munged, content: bytes) -> None:
    assert asked(service, made(munged, content)) == (403, "munge-invalid")


def test_of_another_cluster(service: Service, munged: Munged, need: Callable[[str], str]) -> None:
    with running_munged(munged._command[0]) as other:
        shown = credential(MANAGE, BODY, other.socket)
    assert asked(service, shown) == (403, "munge-invalid")


def test_damaged(service: Service, munged: Munged) -> None:
    shown = credential(MANAGE, BODY, munged.socket)
    middle = len(shown) // 2
    changed = shown[:middle] + ("A" if shown[middle] != "A" else "B") + shown[middle + 1 :]
    for wrong in (changed, shown[:-1], "MUNGE::", "x", "--help", f"{shown}{shown}", "A" * 5000):
        assert asked(service, wrong) == (403, "munge-invalid")
    assert asked(service, shown, shown) == (403, "munge-invalid")


def test_too_old(service: Service, munged: Munged) -> None:
    shown = made(munged, munge_payload(MANAGE, BODY), "--ttl=1")
    time.sleep(2.5)
    assert asked(service, shown) == (403, "munge-expired")


def test_one_user_has_one_limit_wherever_it_asks(
    service: Service, munged: Munged, ordinary_user: OrdinaryUser
) -> None:
    revoke_all(service)
    proof = munge_payload(MANAGE, BODY)
    for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        shown = made(munged, proof, user=ordinary_user)
        assert asked(service, shown, source=source)[0] == 201
    shown = made(munged, proof, user=ordinary_user)
    assert asked(service, shown, source="127.0.0.4") == (429, "limit")
    if os.getuid() == 0:  # another user
        assert asked(service, made(munged, proof))[0] == 201


def test_the_old_calls_give_no_names_then(service: Service) -> None:
    answer = service.request(MANAGE, "GET", "/getlink.cgi")
    assert answer.body == (
        b"Oops! This service gives names to users who prove who they are: use rps\n"
    )


def test_the_launcher_proves_it_by_itself(service: Service, munged: Munged) -> None:
    """End to end: its own client, munge, unmunge, the registry."""
    revoke_all(service)
    ca_file = str(service.directory / "ca" / "ca.pem")
    endpoint = Endpoint(host=MANAGE, port=service.port, connect="127.0.0.1", ca_file=ca_file)
    client = RpsClient(endpoint, 10, munge_socket=munged.socket)
    for _ in range(2):
        issued = client.issue(cluster="comet", scheduler="slurm", user="somebody-else")
        user, authenticated = row(service, issued.name)
        assert (user != "somebody-else", authenticated) == (True, 1)
    client.link(issued.name, issued.claim, "17")
    client.revoke(issued.name, issued.claim, "ended")
    without = RpsClient(endpoint, 10, munge_socket=f"{munged.socket}.not")
    with pytest.raises(ServiceError, match="MUNGE") as refused:
        without.issue(cluster="comet", scheduler="slurm", user="x")
    assert refused.value.code == "munge-failed"
    assert "munge -n" in refused.value.hint


def test_a_daemon_that_is_down_is_reported_and_nothing_is_issued(
    service: Service, munged: Munged
) -> None:
    shown = credential(MANAGE, BODY, munged.socket)
    munged.stop()
    try:
        assert asked(service, shown) == (503, "munge-unavailable")
    finally:
        munged.start()
    assert asked(service, credential(MANAGE, BODY, munged.socket))[0] == 201


def lacking(service: Service) -> list[str]:
    """Return what readiness, the metrics and `rps proxy status` report."""
    settings = load(None, [f"directory={service.directory / 'service'}"])
    status, answer = service.call("GET", "ready")
    assert (status, answer["ready"]) == ((503, False) if answer["lacking"] else (200, True))
    metrics = operate.ask(settings, "GET", "/metrics") or ""
    found = re.findall(r'^rps_ready\{what="(\w+)"\} 0\.0$', metrics, re.MULTILINE)
    return found if found == answer["lacking"] == operate.status(settings)["lacking"] else ["?"]


@pytest.mark.parametrize("how", ["ended", "frozen"])
def test_readiness_tells_that_the_daemon_is_away(
    service: Service, munged: Munged, how: str
) -> None:
    until(lambda: lacking(service) == [], "all is well")
    munged.stop() if how == "ended" else munged.freeze()
    try:
        until(lambda: lacking(service) == ["munge"], "it is said")
    finally:
        munged.start() if how == "ended" else munged.thaw()
    until(lambda: lacking(service) == [], "all is well again")
    events = [json.loads(line)["event"] for line in service.log().splitlines()]
    message = [event for event in events if event.startswith("munge")]
    assert message[-2:] == ["munge-not-answering", "munge-answers"]


def test_a_wrong_socket_is_reported_at_the_start(
    tmp_path: Path, need: Callable[[str], str]
) -> None:
    need("munge")
    wrong = str(tmp_path / "no-such-socket")
    with running_service(tmp_path, auth="munge", **{"munge.socket": wrong}) as service:
        said = [json.loads(line) for line in service.log().splitlines()]
        (message,) = (line for line in said if line["event"] == "munge-not-answering")
        assert wrong in message["reason"]
        assert lacking(service) == ["munge"]
        done = subprocess.run(
            [*STATUS, f"--set=directory={tmp_path / 'service'}"], capture_output=True, text=True
        )
        assert "not ready: the MUNGE daemon does not answer\n" in done.stdout
        # Repeated calls are logged once.
        assert service.log().count("munge-not-answering") == 1


def test_no_credential_is_logged(service: Service, munged: Munged) -> None:
    asked(service, credential(MANAGE, BODY, munged.socket))
    asked(service, credential(MANAGE, b"", munged.socket))
    assert "MUNGE:" not in service.log()
    events = [json.loads(line)["event"] for line in service.log().splitlines()]
    assert '"defect"' not in events


def test_a_service_without_the_program_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    service = Service(tmp_path, auth="munge")
    with pytest.raises(AssertionError, match="the program unmunge is not installed"):
        service.start()
