"""Certificates for browsers, checked before they are used."""

from __future__ import annotations

import re
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from rps_core.errors import UsageError
from rps_proxy.tls.contexts import context_from_memory

_CERTIFICATES = re.compile(
    rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\s*", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that can be served.

    `pem` holds the certificate, its chain and its key, as engines read them; `der` the certificate alone, as
    clients see it.
    """

    pem: bytes
    der: bytes
    expires: datetime
    context: ssl.SSLContext


class _UnusableError(Exception):
    """The certificate cannot be used; the text is the reason."""


def from_files(certificate: Path, key: Path, domain: str) -> Certificate:
    """Read and check the certificate in two PEM files.

    Raises:
        UsageError: browsers would refuse it for a session of `domain`, or it cannot be read.
    """
    try:
        return _checked(certificate.read_bytes(), key.read_bytes(), domain)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise _unusable(certificate, key, domain, reason) from error
    except _UnusableError as error:
        raise _unusable(certificate, key, domain, str(error)) from error


def from_pem(pem: bytes, domain: str) -> Certificate:
    """Check a `Certificate.pem`.

    Raises:
        ValueError: it cannot be used any more.
    """
    try:
        return _checked(pem, pem, domain)
    except _UnusableError as error:
        raise ValueError(str(error)) from error


def not_verified(context: ssl.SSLContext, domain: str) -> str | None:
    """Return why a client with this machine's CAs refuses `context`; None: it accepts.

    It makes the handshake in memory.
    """
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(
        to_client, to_server, server_hostname=f"session.{domain}"
    )
    server = context.wrap_bio(to_server, to_client, server_side=True)
    try:
        for _ in range(3):  # each side acts at most twice
            for side in (client, server):
                with suppress(ssl.SSLWantReadError):
                    side.do_handshake()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except ssl.SSLError as error:
        return error.reason or str(error)
    return None


def _unusable(certificate: Path, key: Path, domain: str, reason: str) -> UsageError:
    return UsageError(
        f"The certificate {certificate} with the key {key} cannot be used: {reason}",
        f"Use a certificate that is valid now and for *.{domain}, with its chain behind it in the same file, "
        "and its key without a passphrase; both in PEM format and readable by the service's account.",
    )


def _checked(certificate_pem: bytes, key_pem: bytes, domain: str) -> Certificate:
    try:
        chain = x509.load_pem_x509_certificates(certificate_pem)
    except ValueError:
        raise _UnusableError("the certificate is not in PEM format") from None
    leaf, now = chain[0], datetime.now(UTC)
    names = _names(leaf)
    if f"*.{domain}" not in names:
        held = ", ".join(sorted(names)) or "none"
        raise _UnusableError(f"it lacks the name *.{domain}; its names: {held}")
    for number, each in enumerate(chain):
        what = "it" if number == 0 else f"certificate {number + 1} of its chain"
        if each.not_valid_after_utc <= now:
            raise _UnusableError(f"{what} expired on {each.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
        if each.not_valid_before_utc > now:
            raise _UnusableError(
                f"{what} is not valid before {each.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            )
    for number, (issued, issuer) in enumerate(pairwise(chain), 2):
        try:
            issued.verify_directly_issued_by(issuer)
        except (InvalidSignature, TypeError, ValueError):
            raise _UnusableError(
                f"its chain is broken: certificate {number} in the file did not sign the one before it"
            ) from None
    _check_key(leaf, key_pem)
    # Some tools write one file with certificate and key, which may be configured for both.
    key_alone = _CERTIFICATES.sub(b"", key_pem)
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in chain) + key_alone
    try:
        context = context_from_memory(pem)  # as the workers of the embedded engine load it
    except OSError as error:  # ssl.SSLError is one
        raise _UnusableError(getattr(error, "reason", None) or str(error)) from error
    return Certificate(pem, leaf.public_bytes(Encoding.DER), leaf.not_valid_after_utc, context)


def _names(certificate: x509.Certificate) -> set[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return {name.lower() for name in found.value.get_values_for_type(x509.DNSName)}


def _check_key(certificate: x509.Certificate, key_pem: bytes) -> None:
    """Check that the key is the certificate's, with a clearer reason than OpenSSL's."""
    try:
        key = load_pem_private_key(key_pem, None)
    except TypeError:
        raise _UnusableError("the key has a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _UnusableError("the key is not in PEM format") from None
    if key.public_key() != certificate.public_key():
        raise _UnusableError("the key is another certificate's")
