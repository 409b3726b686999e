"""TLS in front: the certificate that browsers see, replaced while the service runs.

Connections that are open keep the certificate that they began with.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rps_core.errors import ServiceError, UsageError
from rps_core.log import get_logger
from rps_proxy.authority import Authority, Leaf
from rps_proxy.contexts import Shown, front_context
from rps_proxy.engines import EngineError
from rps_proxy.files import own_directory, write_private
from rps_proxy.settings import Settings

LOOK_EVERY = 5.0  # seconds
_LEAF_FILE = "front.pem"

_log = get_logger("rps.tls")


class GivenCertificate:
    """Certificate and key from two files of the administrator's, read again when they change."""

    def __init__(self, certificate: Path, key: Path, domain: str) -> None:
        self._certificate = certificate
        self._key = key
        self._domain = domain
        self._seen = self._state()
        self.expires = datetime.now(UTC)  # until `load`

    def load(self) -> ssl.SSLContext:
        """A context with what the files hold now.

        Raises:
            UsageError: they cannot be read, or do not belong together.
        """
        self._seen = self._state()
        try:
            certificate_pem, key_pem = self._certificate.read_bytes(), self._key.read_bytes()
            context = front_context(self._certificate, self._key)
            certificate = x509.load_pem_x509_certificate(certificate_pem)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            if isinstance(error, OSError) and error.filename is not None:
                reason = f"{error.filename}: {error.strerror}"
            else:
                reason = _mistake(certificate_pem, key_pem) or str(error)
            raise UsageError(
                f"The certificate {self._certificate} with the key {self._key} cannot be used: {reason}",
                "Both must be PEM, readable for the service's account, the key without a passphrase "
                "and the certificate made from it.",
            ) from error
        self._warn(certificate)
        self.expires = certificate.not_valid_after_utc
        return context

    def pem(self) -> bytes:
        """Certificate and key in one, as engines read them."""
        return self._certificate.read_bytes().rstrip() + b"\n" + self._key.read_bytes()

    def changed(self) -> bool:
        """Whether a file was written, replaced or made readable since the last `load`."""
        return self._state() != self._seen

    def _state(self) -> list[tuple[int, int, int] | None]:
        # ctime, which owner and mode set as well: a renewed key that was not ours to read may become so.
        states: list[tuple[int, int, int] | None] = []
        for path in (self._certificate, self._key):
            try:
                status = path.stat()
            except OSError:
                states.append(None)
            else:
                states.append((status.st_ino, status.st_ctime_ns, status.st_size))
        return states

    def _warn(self, certificate: x509.Certificate) -> None:
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            held = set(names.value.get_values_for_type(x509.DNSName))
        except x509.ExtensionNotFound:
            held = set()
        if f"*.{self._domain}" not in held:
            _log.warning(
                "certificate-lacks-sessions", missing=f"*.{self._domain}", holds=sorted(held)
            )
        if certificate.not_valid_after_utc < datetime.now(UTC):
            _log.warning("certificate-expired", since=str(certificate.not_valid_after_utc))


def _mistake(certificate_pem: bytes, key_pem: bytes) -> str | None:
    """Why OpenSSL does not take them, which its own words do not tell; None where that is not found."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError:
        return "the certificate is not one in PEM"
    try:
        key = load_pem_private_key(key_pem, None)
    except TypeError:
        return "the key has a passphrase"
    except (ValueError, UnsupportedAlgorithm):
        return "the key is not one in PEM"
    same = key.public_key() == certificate.public_key()
    return None if same else "the key is another certificate's"


class OwnCertificate:
    """A certificate signed by a CA of our own, made again when a third of its time is left."""

    def __init__(self, authority: Authority, domain: str, days: int, directory: Path) -> None:
        self._authority = authority
        self._hosts = (domain, f"*.{domain}")
        self._days = days
        self._file = directory / _LEAF_FILE
        self._leaf: Leaf | None = None

    def load(self) -> ssl.SSLContext:
        """A context with a new certificate.

        Raises:
            ServiceError: it cannot be written.
        """
        leaf = self._authority.issue(self._hosts, self._days)
        try:
            write_private(self._file, leaf.key + leaf.certificate)
        except OSError as error:
            raise ServiceError(
                f"The certificate {self._file} cannot be written: {error.strerror}",
                "See that the disk is not full, and that the directory is the service's own.",
            ) from error
        self._leaf = leaf
        return front_context(self._file, self._file)

    def pem(self) -> bytes:
        """Certificate and key in one, as engines read them."""
        return self._file.read_bytes()

    @property
    def expires(self) -> datetime:
        """When the certificate in use ends."""
        return self._leaf.expires if self._leaf is not None else datetime.now(UTC)

    def changed(self) -> bool:
        """Whether it is time for a new one."""
        third = timedelta(days=self._days) / 3
        return self._leaf is None or self._leaf.expires - datetime.now(UTC) < third


class Front:
    """The context that the listener uses, and what keeps it up to date.

    `context` stays the same object; it hands each new connection to the context made last.
    """

    def __init__(self, source: GivenCertificate | OwnCertificate) -> None:
        self._source = source
        self._shown = Shown(source.load())
        self.context = self._shown.context
        self.told: Callable[[bytes], Awaitable[None]] | None = None  # an engine that has it too
        self._telling = False  # it does not have the last one yet

    def refresh(self) -> None:
        """Take up a certificate that changed; a broken one is logged, and the old one stays."""
        if not self._source.changed():
            return
        try:
            self._shown.current = self._source.load()
        except (UsageError, ServiceError) as error:
            _log.error("certificate-not-loaded", reason=error.message)
        else:
            _log.info("certificate-loaded")
            self._telling = True

    def pem(self) -> bytes:
        """Certificate and key as they are in use, for an engine."""
        return self._source.pem()

    @property
    def expires(self) -> datetime:
        """When the certificate in use ends."""
        return self._source.expires

    async def watch(self) -> None:
        """Refresh every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self.refresh()
            if self._telling and self.told is not None:
                try:
                    await self.told(self.pem())
                except (EngineError, OSError) as error:  # tried again the next time
                    _log.error("certificate-not-taken", reason=str(error))
                else:
                    self._telling = False


def front(settings: Settings, service_directory: Path) -> Front:
    """TLS as configured.

    Raises:
        UsageError: see `GivenCertificate.load`.
        ServiceError: see `front_authority`.
    """
    if settings.tls.certificate is not None and settings.tls.key is not None:
        certificate, key = Path(settings.tls.certificate), Path(settings.tls.key)
        return Front(GivenCertificate(certificate.expanduser(), key.expanduser(), settings.domain))
    authority = front_authority(settings)
    return Front(OwnCertificate(authority, settings.domain, settings.tls.days, service_directory))


def front_authority(settings: Settings) -> Authority:
    """The CA for the front certificate, made if there is none.

    Raises:
        ServiceError: its directory is not ours alone, or it was made for another domain.
    """
    return Authority(settings.ca_directory, f"rps for {settings.domain}", settings.domain)


def upstream_authority(settings: Settings, service_directory: Path) -> Authority:
    """The CA for the notebooks' certificates, private to this service."""
    directory = own_directory(service_directory / "upstream")
    return Authority(directory, f"rps upstream for {settings.domain}", settings.domain)
