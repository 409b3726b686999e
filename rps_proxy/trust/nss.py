"""Change what an NSS database trusts, with `certutil` of NSS's tools (certutil(1) of libnss3-tools).

NSS knows a certificate once, by its content: added under a second nickname it keeps the first. It answers a
nickname with all certificates of that subject. So the CA is looked for by its content, among those whose
nicknames begin as rps writes them; those of a browser's own import begin so too, as the CA's name does.
"""

from __future__ import annotations

import re
import shutil
import ssl
from dataclasses import dataclass
from pathlib import Path

from rps_core.errors import SchedulerError, ServiceError
from rps_core.system.shell import run
from rps_proxy.trust.certificate import CaFile

PROGRAM = "certutil"
PACKAGES = {
    "debian": "libnss3-tools",
    "fedora": "nss-tools",
    "suse": "mozilla-nss-tools",
    "arch": "nss",
    "alpine": "nss-tools",
}
_FILE = "cert9.db"  # of NSS since 3.12; `cert8.db` before that is of no browser in use
_TRUSTED = "C,,"  # a CA of servers, and of nothing else
_LEAST_SPACE = 200_000  # bytes; a new database has about 80 KB, and SQLite's journal as much
_OURS = "rps"
_LINE = re.compile(r"(?P<name>.*\S)\s+(?P<trust>[A-Za-z]*,[A-Za-z]*,[A-Za-z]*)\s*")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_LOCKED = (
    "SEC_ERROR_BAD_PASSWORD",
    "SEC_ERROR_TOKEN_NOT_LOGGED_IN",
    "Error opening input terminal",
)


@dataclass(frozen=True, slots=True)
class Database:
    """A database of NSS: the browser that it is of, in words for the user, and its directory.

    Each method raises ServiceError if the database cannot be read or changed: its message is the reason.
    """

    browser: str
    directory: Path

    @property
    def exists(self) -> bool:
        """Whether the database is there; one of Chromium is made with its first certificate."""
        return (self.directory / _FILE).is_file()

    def trusts(self, authority: CaFile) -> bool:
        """Return whether it trusts a CA for servers."""
        return any("C" in trust.split(",")[0] for _, trust in self._named(authority))

    def add(self, authority: CaFile) -> None:
        """Trust a CA for servers; if that fails, leave it as it was. Create it if missing."""
        if not self.exists:
            self._create()
        before = self._named(authority)
        try:
            if before:
                self._certutil("-M", "-n", before[0][0], "-t", _TRUSTED)
            else:
                self._certutil(
                    "-A", "-n", authority.nickname, "-t", _TRUSTED, "-i", str(authority.path)
                )
            if not self.trusts(authority):
                raise ServiceError(f"{PROGRAM} reported no error, but it is not trusted")
        except ServiceError:
            # With a primary password NSS adds the certificate first, and then fails to sign the trust in it.
            if not before:
                for name, _ in self._named(authority):
                    self._certutil("-D", "-n", name)
            raise

    def remove(self, authority: CaFile) -> bool:
        """Remove a CA, and those that rps added for its domain before; return whether any was there."""
        earlier = [name for name, _ in self._listed() if name.startswith(authority.family)]
        for name in earlier:
            self._certutil("-D", "-n", name)
        given = {name for name, _ in self._named(authority)}
        for name in (
            given
        ):  # by a user, and perhaps to another CA too: certutil deletes any one of the name
            certificates = self._certificates(name)
            for _ in range([one for one, _ in self._listed()].count(name)):
                self._certutil("-D", "-n", name)
            for pem in certificates:
                if _der(pem) != authority.der:
                    self._certutil("-A", "-n", name, "-t", _TRUSTED, "-a", stdin=pem)
        return bool(earlier or given)

    def _create(self) -> None:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ServiceError(f"{error.filename}: {error.strerror}") from error
        before = set(self.directory.iterdir())
        try:
            self._certutil("-N", "--empty-password")
        except ServiceError:
            for part in set(self.directory.iterdir()) - before:  # half a database is none
                part.unlink()
            raise

    def _named(self, authority: CaFile) -> list[tuple[str, str]]:
        """Return nickname and trust of a CA, looked for by its content; empty: it is not there."""
        return [
            (name, trust)
            for name, trust in self._listed()
            if name.startswith(_OURS)
            and any(_der(pem) == authority.der for pem in self._certificates(name))
        ]

    def _listed(self) -> list[tuple[str, str]]:
        if not self.exists:
            return []
        lines = map(_LINE.fullmatch, self._certutil("-L").splitlines())
        return [(line["name"], line["trust"]) for line in lines if line]

    def _certificates(self, name: str) -> list[str]:
        return _PEM.findall(self._certutil("-L", "-n", name, "-a"))

    def _certutil(self, *arguments: str, stdin: str = "") -> str:
        try:
            done = run(PROGRAM, *arguments, "-d", f"sql:{self.directory}", stdin=stdin)
        except SchedulerError as error:
            raise ServiceError(error.message) from error
        if done.code:
            if any(word in done.stderr for word in _LOCKED):
                raise ServiceError("it has a primary password, which only its browser can ask for")
            if shutil.disk_usage(self.directory).free < _LEAST_SPACE:
                raise ServiceError("no space is left on its disk")
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.code}"]
            raise ServiceError(last[0].removeprefix("certutil: "))
        return done.stdout


def _der(pem: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem)
