"""The front certificate, which browsers see, replaced while the service runs.

Open connections keep the certificate that they began with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rps_core.errors import UsageError
from rps_core.log import get_logger
from rps_proxy.engine import EngineError
from rps_proxy.private_files import own_directory, read_private, write_private
from rps_proxy.settings.model import Settings
from rps_proxy.tls.authority import Authority
from rps_proxy.tls.certificates import Certificate, from_files, from_pem, not_verified
from rps_proxy.tls.contexts import SwappableContext

LOOK_EVERY = 5.0  # seconds
KEPT_FILE = "front.pem"
OWN_CERTIFICATE_DAYS = 60  # of validity; a new certificate is issued when a third is left

_log = get_logger("rps.tls")


class GivenCertificate:
    """Certificate and key from the administrator's files, read again when changed.

    `kept` is as for `Front`.
    """

    def __init__(self, certificate: Path, key: Path, domain: str, kept: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._kept = kept
        self.domain = domain
        self._seen = self._state()
        before = _kept(kept, domain)
        # Whether this machine's CAs verify the certificate in use, or in use before a restart.
        self._verified = before is not None and not_verified(before.context, domain) is None

    def load(self) -> Certificate:
        """Read the files.

        Raises:
            UsageError: see `certificates.from_files`; or this machine's CAs verified the last certificate,
                and not this one.
        """
        self._seen = self._state()
        found = from_files(self._certificate, self._key, self.domain)
        fault = not_verified(found.context, self.domain)
        if fault is not None and self._verified:
            raise UsageError(
                f"The certificate {self._certificate} cannot be used: this machine's CAs verified the "
                f"previous certificate, but not this one: {fault}",
                "Put its chain behind it in the file (`fullchain.pem`). If its CA is not meant to be known "
                f"to this machine: `rm {self._kept}`, and restart the service.",
            )
        if fault is not None:  # as with a site's own CA
            _log.warning("certificate-not-verified", reason=fault)
        self._verified = fault is None
        return found

    def changed(self) -> bool:
        """Whether a file was written, replaced or made readable since the last `load`."""
        return self._state() != self._seen

    def _state(self) -> list[tuple[int, int, int] | None]:
        # ctime, which owner and mode change too: a renewed key may become readable later.
        states: list[tuple[int, int, int] | None] = []
        for path in (self._certificate, self._key):
            try:
                status = path.stat()
            except OSError:
                states.append(None)
            else:
                states.append((status.st_ino, status.st_ctime_ns, status.st_size))
        return states


class OwnCertificate:
    """A certificate of the service's own CA, reissued with a third of its time left."""

    def __init__(self, authority: Authority, domain: str, days: int) -> None:
        self._authority = authority
        self.domain = domain
        self._days = days
        self._expires: datetime | None = None

    def load(self) -> Certificate:
        """Return a new certificate.

        Raises:
            UsageError: the CA has expired.
        """
        leaf = self._authority.issue((self.domain, f"*.{self.domain}"), self._days)
        try:
            found = from_pem(leaf.certificate + leaf.key, self.domain)
        except ValueError as error:
            directory = self._authority.certificate_file.parent
            raise UsageError(
                f"Cannot use a certificate of the CA in {directory}: {error}",
                f"Check the clock. If it is right, move {directory} away: the service then creates a new CA, "
                "which browsers have to trust.",
            ) from error
        self._expires = leaf.expires
        return found

    def changed(self) -> bool:
        """Whether it is time for a new one."""
        third = timedelta(days=self._days) / 3
        return self._expires is None or self._expires - datetime.now(UTC) < third


class Front:
    """The listener's TLS context, and the task that keeps its certificate current.

    `context` stays the same object; it uses the last certificate for each new connection. That is also stored
    in the file `kept`, so that after a restart it is used if the configured one cannot be.

    Raises:
        UsageError: see `GivenCertificate.load`; and there is none from before.
    """

    def __init__(self, source: GivenCertificate | OwnCertificate, kept: Path) -> None:
        self._source = source
        self._kept = kept
        self.refused: str | None = None  # why the source's certificate is not in use
        self.not_taken: str | None = None  # why the engine did not accept the one in use
        self.notify: Callable[[bytes], Awaitable[None]] | None = None  # passes it to an engine
        self._pending = False  # the engine does not have the last one yet
        try:
            self.in_use = source.load()
        except UsageError as error:
            before = _kept(kept, source.domain)
            if before is None:
                raise
            self._refuse(error)
            self.in_use = before
        else:
            self._keep()
        self._shown = SwappableContext(self.in_use.context)
        self.context = self._shown.context

    def refresh(self) -> None:
        """Load a changed certificate; if it cannot be used, log that and keep the old one.

        A refused certificate is checked each time: it may become valid later.
        """
        if self.refused is None and not self._source.changed():
            return
        try:
            self.in_use = self._source.load()
        except UsageError as error:
            self._refuse(error)
            return
        self.refused = None
        self._shown.current = self.in_use.context
        self._keep()
        _log.info("certificate-loaded", expires=str(self.in_use.expires))
        self._pending = True

    async def watch(self) -> None:
        """Refresh every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self.refresh()
            if self._pending and self.notify is not None:
                sent = self.in_use  # a readiness check may load the next one meanwhile
                try:
                    await self.notify(sent.pem)
                except (EngineError, OSError) as error:  # tried again the next time
                    if self.not_taken is None:
                        _log.error("certificate-not-taken", reason=str(error))
                    self.not_taken = str(error)
                else:
                    self._pending, self.not_taken = self.in_use is not sent, None

    def _refuse(self, error: UsageError) -> None:
        if self.refused != error.message:  # logged once, not every five seconds
            _log.error("certificate-not-loaded", reason=error.message, advice=error.hint)
        self.refused = error.message

    def _keep(self) -> None:
        try:
            write_private(self._kept, self.in_use.pem)
        except OSError as error:  # a full disk must not prevent a renewal
            _log.error("certificate-not-kept", file=str(self._kept), reason=error.strerror)


def _kept(file: Path, domain: str) -> Certificate | None:
    """Return the certificate that was in use before, if it is still usable."""
    pem = read_private(file)
    try:
        return None if pem is None else from_pem(pem, domain)
    except ValueError:
        return None


def front(settings: Settings, service_directory: Path) -> Front:
    """Build the front's TLS as configured.

    Raises:
        UsageError: see `Front`.
        ServiceError: see `front_authority`, and `private_files.read_private`.
    """
    kept = service_directory / KEPT_FILE
    if settings.tls.certificate is not None and settings.tls.key is not None:
        certificate, key = Path(settings.tls.certificate), Path(settings.tls.key)
        given = GivenCertificate(certificate.expanduser(), key.expanduser(), settings.domain, kept)
        return Front(given, kept)
    authority = front_authority(settings)
    return Front(OwnCertificate(authority, settings.domain, OWN_CERTIFICATE_DAYS), kept)


def front_authority(settings: Settings) -> Authority:
    """Return the CA for the front certificate; create it if there is none.

    Raises:
        ServiceError: other accounts can write to its directory, or it is for another domain.
    """
    return Authority(settings.ca_directory, f"rps for {settings.domain}", settings.domain)


def upstream_authority(settings: Settings, service_directory: Path) -> Authority:
    """Return the CA for the notebooks' certificates, private to this service."""
    directory = own_directory(service_directory / "upstream")
    return Authority(
        directory,
        f"rps upstream for {settings.domain}",
        settings.domain,
        "The service then creates a new CA. Running notebooks have a certificate of the old one and become "
        "unreachable: start those sessions again.",
    )
