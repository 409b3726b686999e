"""TLS in front of any engine: its versions, and a renewed certificate."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from rps_core.errors import RpsError
from rps_proxy.cli import admin_client as operate
from rps_proxy.settings.loading import load
from rps_proxy.tls.authority import Authority
from tests.engines.stand import PROGRAMS, Carried, Stand, running
from tests.stands.certificates import SPOILT, PublicCa
from tests.stands.service import DOMAIN, read_exactly, read_head, upgrade_request
from tests.stands.waiting import until


def serial(stand: Stand) -> str:
    """Return the serial number of the certificate that is served."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        # On a loaded machine Apache is slow to load another one.
        socket.create_connection(("127.0.0.1", stand.port), 30) as plain,
        context.wrap_socket(plain, server_hostname=f"x.{DOMAIN}") as connection,
    ):
        der = connection.getpeercert(binary_form=True)
    assert der
    return str(x509.load_der_x509_certificate(der).serial_number)


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_new_certificate_is_taken_up_and_websockets_stay(
    kind: str, tmp_path: Path, need: Callable[[str], str]
) -> None:
    authority = Authority(tmp_path / "ca", "test", DOMAIN)
    chain, key = tmp_path / "front.crt", tmp_path / "front.key"

    def replace() -> None:
        leaf = authority.issue([DOMAIN, f"*.{DOMAIN}"], 2)
        key.write_bytes(leaf.key)
        chain.write_bytes(leaf.certificate)

    replace()
    given: dict[str, Any] = {"tls.certificate": chain, "tls.key": key}
    with running(tmp_path, kind, need, **given) as stand, stand.notebook() as (session, _):
        before = serial(stand)
        with stand.connect(session.host) as websocket:
            websocket.sendall(upgrade_request(session.host))
            assert " 101 " in read_head(websocket)
            replace()
            until(lambda: serial(stand) != before, "the new certificate")
            websocket.sendall(bytes.fromhex("818100000000") + b"x")
            assert read_exactly(websocket, 7)[-1:] == b"x"
        if kind in ("haproxy", "apache"):
            now = serial(stand)
            stand.kill_engine()
            stand.start_engine()
            assert serial(stand) == now


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_renewal_that_went_wrong(
    kind: str, tmp_path: Path, need: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test that the previous certificate stays, also after a restart, and is reported."""
    ca = PublicCa(tmp_path, DOMAIN)
    ca.renew()
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.root_file))
    given: dict[str, Any] = {"tls.certificate": ca.certificate, "tls.key": ca.key}
    with running(tmp_path, kind, need, **given) as stand:
        until(lambda: status(stand)[0] == 0, "it is ready")
        before = serial(stand)
        for how in SPOILT:
            said = ca.spoil(how)
            code, found = status(stand)
            assert (code, found["lacking"]) == (9, ["renewal"]), how
            assert said in found["faults"]["renewal"]
            assert serial(stand) == before
        answer = asked(stand, "/ready")
        assert json.loads(answer) == {"ready": False, "lacking": ["renewal"]}
        assert 'rps_ready{what="renewal"} 0.0' in asked(stand, "/metrics")
        assert stand.log().count("certificate-not-loaded") == len(SPOILT)
        stand.kill()
        stand.kill_engine()
        stand.engine = None
        stand.start()
        assert serial(stand) == before
        until(lambda: status(stand)[1]["lacking"] == ["renewal"], "that is all it lacks")
        ca.renew()
        until(lambda: status(stand)[0] == 0, "the good one is in force")
        until(lambda: serial(stand) != before, "visitors are shown it")


def status(stand: Stand) -> tuple[int, dict[str, Any]]:
    """Return the exit code and output of `rps proxy status`."""
    settings = {"directory": stand.directory / "service", "listen.port": stand.port, **stand.given}
    found = operate.status(load(None, [f"{key}={value}" for key, value in settings.items()]))
    try:
        operate.check_ready(found)
    except RpsError as error:
        return error.exit_code, found
    return 0, found


def asked(stand: Stand, path: str) -> str:
    """Return the answer of the admin socket."""
    with closing(http.client.HTTPConnection("service")) as client:
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.connect(str(stand.directory / "service" / "admin.sock"))
        client.request("GET", path)
        return client.getresponse().read().decode()


def test_old_versions_are_refused(carried: Carried) -> None:
    assert handshake(carried.stand, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    assert handshake(carried.stand, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with pytest.warns(DeprecationWarning, match="TLSv1_1"), pytest.raises(OSError, match=r"."):
        handshake(carried.stand, ssl.TLSVersion.TLSv1_1)


def handshake(stand: Stand, newest: ssl.TLSVersion) -> str | None:
    """Return the version agreed upon with a client that knows none newer."""
    context = ssl.create_default_context(cafile=str(stand.directory / "ca" / "ca.pem"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = newest
    with (
        socket.create_connection(("127.0.0.1", stand.port), 20) as plain,
        context.wrap_socket(plain, server_hostname=f"manage.{DOMAIN}") as connection,
    ):
        return connection.version()
