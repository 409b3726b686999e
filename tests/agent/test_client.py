"""The node agent's client of the service."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rps_core.node.agent.service import Service, ServiceAway, ServiceRefused
from rps_core.node.agent.tls import tls_context
from rps_proxy.tls.authority import Authority
from tests.stands.agent import CLAIM, DOMAIN, NAME, StandIn, stand_in


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with stand_in(tmp_path_factory.mktemp("stand") / "service") as stand:
        yield stand


@pytest.fixture(autouse=True)
def _no_faults(stand: StandIn) -> Iterator[None]:
    yield
    stand.answers.clear()


def service(stand: StandIn, **options: Any) -> Service:
    values: dict[str, Any] = {"connect": "127.0.0.1", "ca_file": str(stand.ca_file)}
    return Service(f"manage.{DOMAIN}", stand.port, **(values | options))


PATH = f"/api/v1/sessions/{NAME}/renew"


def test_a_call_is_answered(stand: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # no server is there
    client = service(stand)
    assert client.request("POST", PATH, dict, {}, CLAIM)["lease"] == 45
    assert client.local_address == "127.0.0.1"


def test_a_refusal_has_its_code(stand: StandIn) -> None:
    with pytest.raises(ServiceRefused) as caught:
        service(stand).request("POST", PATH, dict, {}, "wrong")
    assert (caught.value.status, caught.value.code) == (403, "wrong-claim")
    assert "wrong" not in str(caught.value).replace("wrong-claim", "")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_overload_passes(stand: StandIn, status: int) -> None:
    stand.answers["renew"] = lambda _: (status, {"error": "busy", "message": ""})
    with pytest.raises(ServiceAway, match=str(status)):
        service(stand).request("POST", PATH, dict, {}, CLAIM)


@pytest.mark.parametrize(("status", "code"), [(429, "limit"), (503, "busy")])
def test_overload_is_reported_in_the_services_words(stand: StandIn, status: int, code: str) -> None:
    answer = {"error": code, "message": "You have 100 names already."}
    stand.answers["renew"] = lambda _: (status, answer)
    with pytest.raises(ServiceAway, match="100 names already") as caught:
        service(stand).request("POST", PATH, dict, {}, CLAIM)
    assert (caught.value.code, caught.value.message) == (code, answer["message"])


def test_an_error_that_is_not_the_services_own_decides_nothing(stand: StandIn) -> None:
    """A web server in front that has lost the service answers 404 for it."""
    stand.answers["renew"] = lambda _: (404, {"page": "not found"})
    with pytest.raises(ServiceAway, match="not the service"):
        service(stand).request("POST", PATH, dict, {}, CLAIM)


def test_a_port_without_a_server(stand: StandIn) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = Service("localhost", unused.getsockname()[1])
        with pytest.raises(ServiceAway, match="refused"):
            client.request("GET", "/api/v1/health", dict)


def test_a_silent_client(stand: StandIn) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Service("localhost", silent.getsockname()[1], "127.0.0.1", timeout=0.2)
        with pytest.raises(ServiceAway, match="timed out"):
            client.request("GET", "/api/v1/health", dict)


def test_another_user(stand: StandIn) -> None:
    with pytest.raises(ServiceAway, match="certificate"):
        service(stand, ca_file=None).request("POST", PATH, dict, {}, CLAIM)
    other = Service(f"other.{DOMAIN}", stand.port, "127.0.0.1", str(stand.ca_file))
    with pytest.raises(ServiceAway, match="other"):
        other.request("POST", PATH, dict, {}, CLAIM)


def test_one_who_speaks_no_http(tmp_path: Path, stand: StandIn) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    leaf = stand.upstream.issue([f"manage.{DOMAIN}"], 1)
    (tmp_path / "pem").write_bytes(leaf.certificate + leaf.key)
    context.load_cert_chain(tmp_path / "pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with context.wrap_socket(connection, server_side=True) as secure:
                secure.recv(4096)
                secure.sendall(b"220 mail.example.org\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        ca_file = str(stand.upstream.certificate_file)
        client = Service(f"manage.{DOMAIN}", listener.getsockname()[1], "127.0.0.1", ca_file)
        with pytest.raises(ServiceAway, match="HTTP"):
            client.request("POST", PATH, dict, {}, CLAIM)
        thread.join()


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"


@pytest.mark.parametrize(
    ("answers", "connections"),
    [
        ([[ANSWER + b"\r\n{}"] * 3], 1),
        ([[ANSWER + b"\r\n{}"] * 2, [ANSWER + b"\r\n{}"]], 2),  # closed between two requests
        ([[ANSWER + b"Connection: close\r\n\r\n{}"]] * 3, 3),
    ],
    ids=["kept", "closed meanwhile", "not to be kept"],
)
def test_a_connection_is_kept_for_as_long_as_the_service_does(
    tmp_path: Path, stand: StandIn, answers: list[list[bytes]], connections: int
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    leaf = stand.upstream.issue([f"manage.{DOMAIN}"], 1)
    (tmp_path / "pem").write_bytes(leaf.certificate + leaf.key)
    context.load_cert_chain(tmp_path / "pem")
    served = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for texts in answers:
                connection, _ = listener.accept()
                with context.wrap_socket(connection, server_side=True) as secure:
                    served.append(secure)
                    for text in texts:
                        secure.recv(4096)
                        secure.sendall(text)

        thread = threading.Thread(target=answer)
        thread.start()
        ca_file = str(stand.upstream.certificate_file)
        port = listener.getsockname()[1]
        client = Service(f"manage.{DOMAIN}", port, "127.0.0.1", ca_file, keep=True)
        for _ in range(3):
            assert client.request("GET", PATH, dict, None, CLAIM) == {}
        thread.join()
    assert len(served) == connections


def another_ca(tmp_path: Path) -> bytes:
    return Authority(tmp_path / "another", "another CA", "example.org").certificate


@pytest.mark.parametrize("python", ["of today", "3.6"])
@pytest.mark.parametrize(
    ("in_the_directory", "file", "whole"),
    [(True, "the system's", False), (False, "the system's", True), (True, "the user's", True)],
    ids=["in the directory", "in the file alone", "a file named by the user"],
)
def test_the_systems_cas_are_read_as_they_are_needed(
    tmp_path: Path, stand: StandIn, in_the_directory: bool, file: str, whole: bool, python: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Test a CA that the file of all CAs has, and one that the directory has as well."""
    ca = stand.ca_file
    directory = tmp_path / "certs"
    directory.mkdir()
    (directory / "other.pem").write_bytes(another_ca(tmp_path))
    if in_the_directory:
        shutil.copy(ca, directory / "ours.pem")
    subprocess.run(["openssl", "rehash", directory], check=True)
    monkeypatch.setenv("SSL_CERT_DIR", str(directory))
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    if file == "the user's":
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
    if python == "3.6":
        monkeypatch.delattr(ssl, "SSLCertVerificationError")
    create, read_whole = ssl.create_default_context, []

    def recorded(**trusted: str | None) -> ssl.SSLContext:
        context = create(**trusted)  # type: ignore[arg-type]
        if not any(trusted.values()):
            read_whole.append(True)
            context.load_verify_locations(ca)  # the system's own file is compiled into OpenSSL
        return context

    monkeypatch.setattr(ssl, "create_default_context", recorded)
    client = service(stand, ca_file=None)
    for _ in range(2):
        assert client.request("POST", PATH, dict, {}, CLAIM)["lease"] == 45
    assert len(read_whole) == (whole or python == "3.6")


def test_what_the_system_does_not_trust_is_refused(
    tmp_path: Path, stand: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "other.pem").write_bytes(another_ca(tmp_path))
    subprocess.run(["openssl", "rehash", tmp_path / "certs"], check=True)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "certs"))
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    client = service(stand, ca_file=None)
    known = list(stand.calls)
    for _ in range(2):
        with pytest.raises(ServiceAway, match="certificate"):
            client.request("POST", PATH, dict, {}, CLAIM)
    assert stand.calls == known


def test_a_damaged_claim_is_not_quoted(stand: StandIn) -> None:
    with pytest.raises(ValueError, match="damaged") as caught:
        service(stand).request("POST", PATH, dict, {}, "canary\r\nX: y")
    assert "canary" not in repr(caught.value)


@pytest.mark.parametrize("python", ["of today", "3.6"])
@pytest.mark.filterwarnings("ignore:ssl.OP_NO_:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_it_speaks_no_tls_older_than_1_2(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test TLS 1.2 as the minimum, independent of OpenSSL's default."""
    lax = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    lax.minimum_version = ssl.TLSVersion.TLSv1
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: lax)
    if python == "3.6":
        monkeypatch.delattr(ssl, "TLSVersion")
    context = tls_context()
    older = ssl.OP_NO_SSLv3 | ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
    monkeypatch.undo()
    least = context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.options & older == older if python == "3.6" else least
