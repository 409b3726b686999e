"""Certificates as public CAs issue them (root, intermediate), and faulty renewals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


class PublicCa:
    """A root, which clients trust, and an intermediate, which servers must send."""

    def __init__(self, directory: Path, domain: str) -> None:
        self.domain = domain
        self.certificate, self.key = directory / "front.crt", directory / "front.key"
        self.root_file = directory / "root.pem"
        self._root = _authority("root", None)
        self._intermediate = _authority("intermediate", self._root)
        self._other = _authority("other", self._root)
        self.root_file.write_bytes(pem(self._root[0]))

    @property
    def names(self) -> list[str]:
        return [self.domain, f"*.{self.domain}"]

    def renew(self) -> None:
        """Renew correctly: replace both files, with the chain after the certificate."""
        leaf, key = self._leaf(self.names)
        self.write(leaf + pem(self._intermediate[0]), key)

    def write(self, certificate: bytes, key: bytes) -> None:
        for file, content in ((self.certificate, certificate), (self.key, key)):
            beside = file.with_suffix(".new")
            beside.write_bytes(content)
            beside.replace(file)

    def spoil(self, how: str) -> str:
        """Write a faulty renewal of this kind; return a part of the expected error."""
        chain = pem(self._intermediate[0])
        leaf, key = self._leaf(self.names)
        now = datetime.now(UTC)
        match how:
            case "expired":
                leaf, key = self._leaf(self.names, now - 2 * DAY, now - DAY)
            case "not yet valid":
                leaf, key = self._leaf(self.names, now + DAY, now + 2 * DAY)
            case "no wildcard":
                leaf, key = self._leaf([self.domain])
            case "another domain":
                leaf, key = self._leaf(["example.org", "*.example.org"])
            case "no names":
                leaf, key = self._leaf([])
            case "another key":
                key = self._leaf(self.names)[1]
            case "a passphrase":
                key = private(ec.generate_private_key(ec.SECP256R1()), b"secret")
            case "no chain":
                chain = b""
            case "another chain":
                chain = pem(self._other[0])
            case "an expired chain":
                expired = _authority(
                    "intermediate", self._root, self._intermediate[1], now - 2 * DAY, now - DAY
                )
                chain = pem(expired[0])
            case "half a certificate":
                leaf, chain = leaf[: len(leaf) // 2], b""
            case "half a key":
                key = key[: len(key) // 2]
        self.write(leaf + chain, key)
        if how == "no certificate":
            self.certificate.unlink()
        return SPOILT[how]

    def _leaf(
        self, names: list[str], begin: datetime | None = None, end: datetime | None = None
    ) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        extensions: list[x509.ExtensionType] = [x509.BasicConstraints(ca=False, path_length=None)]
        if names:
            extensions.append(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]))
        made = _signed("leaf", key, self._intermediate, extensions, begin, end)
        return pem(made), private(key)


SPOILT = {
    "expired": "it expired on",
    "not yet valid": "it is not valid before",
    "no wildcard": "it lacks the name *.",
    "another domain": "its names: *.example.org, example.org",
    "no names": "its names: none",
    "another key": "the key is another certificate's",
    "a passphrase": "the key has a passphrase",
    "no chain": "verified the previous certificate",
    "another chain": "its chain is broken: certificate 2",
    "an expired chain": "certificate 2 of its chain expired",
    "half a certificate": "the certificate is not in PEM format",
    "half a key": "the key is not in PEM format",
    "no certificate": "No such file or directory",
}

_Authority = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def private(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    locked = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)


def _authority(
    name: str,
    issuer: _Authority | None,
    key: ec.EllipticCurvePrivateKey | None = None,
    begin: datetime | None = None,
    end: datetime | None = None,
) -> _Authority:
    key = key or ec.generate_private_key(ec.SECP256R1())
    extensions = [x509.BasicConstraints(ca=True, path_length=None)]
    return _signed(name, key, issuer, extensions, begin, end), key


def _signed(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: _Authority | None,
    extensions: list[x509.ExtensionType] | list[x509.BasicConstraints],
    begin: datetime | None,
    end: datetime | None,
) -> x509.Certificate:
    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    now = datetime.now(UTC)
    by, with_key = (named(name), key) if issuer is None else (issuer[0].subject, issuer[1])
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin or now - DAY)
        .not_valid_after(end or now + 30 * DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(with_key.public_key()), False
        )
    )
    for extension in extensions:
        critical = isinstance(extension, x509.BasicConstraints)
        builder = builder.add_extension(extension, critical)
    return builder.sign(with_key, hashes.SHA256())
