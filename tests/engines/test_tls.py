"""TLS in front, whatever the engine: its versions, and a certificate that is renewed."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rps_proxy.authority import Authority
from tests.engines.stand import PROGRAMS, Carried, Stand, running
from tests.faults.service_stand import DOMAIN, read_exactly, read_head, until, upgrade_request


def serial(stand: Stand) -> str:
    with stand.connect(f"x.{DOMAIN}") as connection:
        certificate = connection.getpeercert()
        assert certificate
        return str(certificate["serialNumber"])


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
            until(lambda: serial(stand) != before, "the new certificate", 60)
            websocket.sendall(bytes.fromhex("818100000000") + b"x")
            assert read_exactly(websocket, 7)[-1:] == b"x"
        if kind in ("haproxy", "apache"):
            now = serial(stand)
            stand.kill_engine()
            stand.start_engine()
            assert serial(stand) == now


def test_old_versions_are_refused(carried: Carried) -> None:
    assert handshake(carried.stand, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    assert handshake(carried.stand, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with pytest.warns(DeprecationWarning, match="TLSv1_1"), pytest.raises(OSError, match=r"."):
        handshake(carried.stand, ssl.TLSVersion.TLSv1_1)


def handshake(stand: Stand, newest: ssl.TLSVersion) -> str | None:
    """The version agreed upon with a client that knows none newer."""
    context = ssl.create_default_context(cafile=str(stand.directory / "ca" / "ca.pem"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = newest
    with (
        socket.create_connection(("127.0.0.1", stand.port), 20) as plain,
        context.wrap_socket(plain, server_hostname=f"manage.{DOMAIN}") as connection,
    ):
        return connection.version()
