"""The CAs and the certificates in front, verified by OpenSSL in real handshakes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from rps_core.errors import ServiceError, UsageError
from rps_proxy.tls import certificates
from rps_proxy.tls import front as tls
from rps_proxy.tls.authority import Authority, Leaf
from rps_proxy.tls.contexts import upstream_context
from tests.stands.certificates import SPOILT, PublicCa

DOMAIN = "rps.localhost"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca", "test", DOMAIN)


def server(tmp_path: Path, leaf: Leaf) -> ssl.SSLContext:
    file = tmp_path / "leaf.pem"
    file.write_bytes(leaf.key + leaf.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def handshake(server: ssl.SSLContext, authority: Authority, host: str) -> bytes:
    """Shake hands in memory; the certificate that was shown, or the client's error."""
    context = upstream_context(authority.certificate)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = context.wrap_bio(to_client, to_server, server_hostname=host)
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client_side, server_side):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    shown = client_side.getpeercert(binary_form=True)
    assert shown
    return shown


@pytest.mark.parametrize("host", [f"a-b-c.{DOMAIN}", f"manage.{DOMAIN}", DOMAIN])
def test_the_front_certificate_is_good_for_the_domain(
    tmp_path: Path, authority: Authority, host: str
) -> None:
    leaf = authority.issue((DOMAIN, f"*.{DOMAIN}"), 60)
    assert handshake(server(tmp_path, leaf), authority, host)


@pytest.mark.parametrize(
    "host", ["example.org", f"{DOMAIN}.example.org", "localhost", "xrps.localhost"]
)
def test_the_ca_is_good_for_nothing_else(tmp_path: Path, authority: Authority, host: str) -> None:
    """Test a certificate for another name, signed with its key: OpenSSL refuses it."""
    leaf = authority.issue((host,), 60)
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(server(tmp_path, leaf), authority, host)


def test_one_sessions_certificate_is_not_anothers(tmp_path: Path, authority: Authority) -> None:
    context = server(tmp_path, authority.issue((f"a-b-c.{DOMAIN}",), 60))
    assert handshake(context, authority, f"a-b-c.{DOMAIN}")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(context, authority, f"d-e-f.{DOMAIN}")


def test_the_two_authorities_do_not_vouch_for_each_other(
    tmp_path: Path, authority: Authority
) -> None:
    other = Authority(tmp_path / "other", "test", DOMAIN)
    context = server(tmp_path, other.issue((f"a-b-c.{DOMAIN}",), 60))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(context, authority, f"a-b-c.{DOMAIN}")


def test_the_ca_is_made_once_and_kept_private(tmp_path: Path, authority: Authority) -> None:
    again = Authority(tmp_path / "ca", "test", DOMAIN)
    assert again.certificate == authority.certificate
    assert again.certificate_file.read_bytes() == authority.certificate
    assert b"PRIVATE" not in authority.certificate
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "ca").iterdir()} == {0o600}
    assert (tmp_path / "ca").stat().st_mode & 0o777 == 0o700
    certificate = x509.load_pem_x509_certificate(authority.certificate)
    constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical


def test_a_ca_that_others_can_read_is_refused(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "ca" / "authority.pem").chmod(0o644)
    with pytest.raises(ServiceError, match="only you can read"):
        Authority(tmp_path / "ca", "test", DOMAIN)


def test_a_missing_public_copy_is_written_again(tmp_path: Path, authority: Authority) -> None:
    authority.certificate_file.unlink()
    again = Authority(tmp_path / "ca", "test", DOMAIN)
    assert again.certificate_file.read_bytes() == authority.certificate


def test_our_own_certificate_is_renewed_while_the_service_runs(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tls.OwnCertificate(authority, DOMAIN, 60)
    front = tls.Front(source, tmp_path / "kept.pem")
    first = handshake(front.context, authority, f"a-b-c.{DOMAIN}")
    front.refresh()
    assert handshake(front.context, authority, f"a-b-c.{DOMAIN}") == first

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(days=41)

    monkeypatch.setattr(tls, "datetime", Later)
    front.refresh()
    assert handshake(front.context, authority, f"a-b-c.{DOMAIN}") != first


def test_given_files_are_taken_up_when_they_change(tmp_path: Path, authority: Authority) -> None:
    certificate, key = tmp_path / "a.crt", tmp_path / "a.key"

    def write(leaf: Leaf) -> None:
        certificate.write_bytes(leaf.certificate)
        key.write_bytes(leaf.key)

    hosts = (DOMAIN, f"*.{DOMAIN}")
    write(authority.issue(hosts, 60))
    front = tls.Front(
        tls.GivenCertificate(certificate, key, DOMAIN, tmp_path / "kept.pem"),
        tmp_path / "kept.pem",
    )
    first = handshake(front.context, authority, DOMAIN)
    new = authority.issue(hosts, 60)
    certificate.write_bytes(new.certificate)  # the key is still the old one
    front.refresh()
    assert handshake(front.context, authority, DOMAIN) == first
    key.unlink()
    front.refresh()
    assert handshake(front.context, authority, DOMAIN) == first
    write(new)
    front.refresh()
    assert handshake(front.context, authority, DOMAIN) != first


def test_a_key_whose_mode_is_fixed_is_tried_again(tmp_path: Path, authority: Authority) -> None:
    certificate, key = tmp_path / "a.crt", tmp_path / "a.key"
    leaf = authority.issue((DOMAIN, f"*.{DOMAIN}"), 60)
    certificate.write_bytes(leaf.certificate)
    key.write_bytes(leaf.key)
    key.chmod(0o600)
    source = tls.GivenCertificate(certificate, key, DOMAIN, tmp_path / "kept.pem")
    source.load()
    assert not source.changed()
    key.chmod(0o640)
    assert source.changed()


@pytest.fixture
def ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PublicCa:
    """Return a CA that this machine knows."""
    ca = PublicCa(tmp_path, DOMAIN)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.root_file))
    return ca


def given(ca: PublicCa) -> tls.Front:
    kept = ca.certificate.with_name("kept.pem")
    return tls.Front(tls.GivenCertificate(ca.certificate, ca.key, DOMAIN, kept), kept)


@pytest.mark.parametrize("how", SPOILT)
def test_a_renewal_that_went_wrong_takes_nothings_place(ca: PublicCa, how: str) -> None:
    ca.renew()
    front = given(ca)
    before = front.in_use
    said = ca.spoil(how)
    front.refresh()
    assert front.refused is not None
    assert said in front.refused
    assert (front.in_use, front.refused) == (before, front.refused)
    assert certificates.not_verified(front.context, DOMAIN) is None
    again = given(ca)  # after a restart, which has the one from before as well
    assert again.refused == front.refused
    assert again.in_use.der == before.der
    ca.renew()
    front.refresh()
    assert front.refused is None
    assert front.in_use.der != before.der


def test_another_ca_that_this_machine_does_not_know(
    ca: PublicCa,
) -> None:
    """Test a change to a site's own CA: the advice of the refusal works."""
    ca.renew()
    front = given(ca)
    ca.spoil("no chain")
    front.refresh()
    assert front.refused is not None
    with pytest.raises(UsageError) as text:
        front._source.load()
    (file,) = re.findall(r"`rm (.*?)`", text.value.hint)
    Path(file).unlink()
    assert given(ca).refused is None


@pytest.mark.parametrize("how", [how for how in SPOILT if how != "no chain"])
def test_a_first_certificate_that_is_wrong(ca: PublicCa, how: str) -> None:
    said = ca.spoil(how)
    with pytest.raises(UsageError) as text:
        given(ca)
    assert said in text.value.message
    assert str(ca.certificate) in text.value.message


def test_one_file_with_everything(ca: PublicCa) -> None:
    """Test one file for certificate and key, as HAProxy uses it."""
    ca.renew()
    both = ca.certificate.read_bytes() + ca.key.read_bytes()
    ca.certificate.write_bytes(both)
    kept = ca.certificate.with_name("kept.pem")
    front = tls.Front(tls.GivenCertificate(ca.certificate, ca.certificate, DOMAIN, kept), kept)
    assert front.in_use.pem.count(b"BEGIN CERTIFICATE") == 2
    assert certificates.not_verified(front.context, DOMAIN) is None


def test_a_certificate_whose_day_comes(ca: PublicCa, monkeypatch: pytest.MonkeyPatch) -> None:
    ca.renew()
    front = given(ca)
    ca.spoil("not yet valid")
    front.refresh()
    assert front.refused

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(days=1, hours=12)

    monkeypatch.setattr(certificates, "datetime", Later)
    monkeypatch.setattr(tls, "not_verified", lambda *_: None)  # OpenSSL has the clock of today
    front.refresh()
    assert front.refused is None


async def test_one_that_comes_while_the_engine_takes_the_last(
    ca: PublicCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca.renew()
    front = given(ca)
    taken: list[bytes] = []

    async def take(pem: bytes) -> None:
        taken.append(pem)
        if len(taken) == 1:
            ca.renew()
            front.refresh()

    monkeypatch.setattr(tls, "LOOK_EVERY", 0)
    front.notify = take
    ca.renew()
    watching = asyncio.create_task(front.watch())
    try:
        async with asyncio.timeout(30):
            while len(taken) < 2:
                await asyncio.sleep(0)
    finally:
        watching.cancel()
    assert taken[-1] == front.in_use.pem != taken[0]
