"""A CA's certificate file, as it is shown to users and compared with what a store holds."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path

from rps_core.errors import ServiceError


@dataclass(frozen=True, slots=True)
class CaFile:
    """A CA's certificate: its file, and the domain that its name constraint permits."""

    path: Path
    domain: str
    der: bytes

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as browsers show it: AB:CD:…."""
        return hashlib.sha256(self.der).digest().hex(":").upper()

    @property
    def sha1(self) -> str:
        """SHA-1 of the certificate, by which macOS names it."""
        return hashlib.sha1(self.der, usedforsecurity=False).hexdigest().upper()

    @property
    def nickname(self) -> str:
        """Its name in NSS databases, another for each CA."""
        return f"{self.family}{hashlib.sha256(self.der).hexdigest()[:16]}"

    @property
    def family(self) -> str:
        """How the nicknames of all CAs of this domain begin, earlier ones included."""
        return f"rps for {self.domain} "


def read(path: Path, domain: str) -> CaFile:
    """Read a CA's certificate.

    Raises:
        ServiceError: it cannot be read, or is not one certificate in PEM format.
    """
    try:
        return CaFile(path, domain, ssl.PEM_cert_to_DER_cert(path.read_text("ascii").strip()))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a certificate (PEM)"
        raise ServiceError(
            f"Cannot read the CA certificate {path}: {reason}", "`rps proxy ca` writes it."
        ) from error
