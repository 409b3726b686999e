"""A small certificate authority, for the front without a certificate and upstream.

Keys are ECDSA on P-256. The authority's key and certificate are in one file, so that no crash leaves one
without the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rps_core.errors import ServiceError
from rps_proxy.private_files import create_private, own_directory, read_private, write_private

CA_DAYS = 3650
CERTIFICATE_FILE = "ca.pem"
_SECRET_FILE = "authority.pem"  # noqa: S105 - a file's name
_NEW_CA = (
    "The service then creates a new CA, which browsers have to trust. Or set `tls.ca_directory`."
)
_CLOCKS_DIFFER = timedelta(days=1)  # between this machine and the one that verifies


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate for one server: PEM of it, and of its key."""

    certificate: bytes
    key: bytes
    expires: datetime


class Authority:
    """A CA in its own directory, created on first use, for names below `domain` only.

    The limit to `domain` is a critical name constraint in the CA's certificate: a browser that trusts it
    accepts no other name from it, even if its key was stolen. `way_out` is the advice for creating a new CA.

    Raises:
        ServiceError: see `private_files.own_directory`; or the CA is damaged, or of another domain.
    """

    def __init__(self, directory: Path, title: str, domain: str, way_out: str = _NEW_CA) -> None:
        self._directory = own_directory(directory)
        secret = read_private(directory / _SECRET_FILE)
        if secret is None:
            create_private(directory / _SECRET_FILE, _new_authority(title, domain))
            # The one above, or that of a process that was first.
            secret = read_private(directory / _SECRET_FILE)
        try:
            self._key, self._certificate = _read(secret or b"")
        except ValueError as error:
            raise ServiceError(
                f"Cannot read the CA: {directory / _SECRET_FILE} is damaged: {error}",
                f"Move it away: `mv {directory} {directory}.old`. {way_out}",
            ) from error
        if not _permits(self._certificate, domain):
            raise ServiceError(
                f"Cannot use the CA in {directory} for {domain}: it was created for another domain.",
                f"Move it away: `mv {directory} {directory}.old`. {way_out}",
            )
        self.certificate = self._certificate.public_bytes(serialization.Encoding.PEM)
        if read_private(self.certificate_file) != self.certificate:
            write_private(self.certificate_file, self.certificate)

    @property
    def certificate_file(self) -> Path:
        """Path of the CA's certificate (PEM, without the key), which browsers trust."""
        return self._directory / CERTIFICATE_FILE

    def issue(self, hosts: Sequence[str], days: int) -> Leaf:
        """Issue a new key and certificate for these host names."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        expires = min(now + timedelta(days=days), self._certificate.not_valid_after_utc)
        certificate = (
            x509.CertificateBuilder()
            # A common name has at most 64 characters (RFC 5280, A.1); clients read the alternative name.
            .subject_name(_name(hosts[0][:64]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCKS_DIFFER)
            .not_valid_after(expires)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(h) for h in hosts]), False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
            .add_extension(_key_usage(digital_signature=True), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(_issued_by(self._key), False)
            .sign(self._key, hashes.SHA256())
        )
        return Leaf(certificate.public_bytes(serialization.Encoding.PEM), _pem(key), expires)


def _new_authority(title: str, domain: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(f"{title} ({now:%Y-%m-%d})"))
        .issuer_name(_name(f"{title} ({now:%Y-%m-%d})"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), True)
        .add_extension(
            x509.NameConstraints(
                permitted_subtrees=[x509.DNSName(domain)],
                # A constraint on names permits all addresses (RFC 5280, 4.2.1.10), so exclude these.
                excluded_subtrees=[
                    x509.IPAddress(ip_network("0.0.0.0/0")),
                    x509.IPAddress(ip_network("::/0")),
                ],
            ),
            True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(_issued_by(key), False)
        .sign(key, hashes.SHA256())
    )
    return _pem(key) + certificate.public_bytes(serialization.Encoding.PEM)


def _read(secret: bytes) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = serialization.load_pem_private_key(secret, password=None)
    return cast(ec.EllipticCurvePrivateKey, key), x509.load_pem_x509_certificate(secret)


def _permits(certificate: x509.Certificate, domain: str) -> bool:
    constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    return constraints.permitted_subtrees == [x509.DNSName(domain)]


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _issued_by(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
