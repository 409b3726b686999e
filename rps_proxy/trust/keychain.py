"""Trust a CA in the login keychain of macOS, by security(1).

Safari and Chrome use it, and Firefox from version 120 on. The system asks the user to confirm each change.
Tested is which commands run, not their effect: no macOS is at hand.
"""

from __future__ import annotations

from pathlib import Path

from rps_core.errors import SchedulerError, ServiceError
from rps_core.system import paths
from rps_core.system.shell import Finished, run
from rps_proxy.trust.certificate import CaFile

_PROGRAM = "security"
_CONFIRMATION = 300.0  # seconds: the user confirms in a dialog, with a password or a finger


class Keychain:
    """The user's login keychain; methods raise ServiceError as those of `nss.Database`."""

    browser = "login keychain (Safari, Chrome, Firefox)"

    @property
    def path(self) -> Path:
        """The keychain's file."""
        return paths.home() / "Library" / "Keychains" / "login.keychain-db"

    def trusts(self, authority: CaFile) -> bool:
        """Return whether it has a CA."""
        return (
            authority.sha1 in self._security("find-certificate", "-a", "-Z", str(self.path)).stdout
        )

    def add(self, authority: CaFile) -> None:
        """Add a CA, trusted for TLS alone."""
        trust = ("-r", "trustRoot", "-p", "ssl", "-k", str(self.path))
        self._check(self._security("add-trusted-cert", *trust, str(authority.path)))

    def remove(self, authority: CaFile) -> bool:
        """Remove a CA with its trust; return whether it was there."""
        if not self.trusts(authority):
            return False
        self._check(
            self._security("delete-certificate", "-Z", authority.sha1, "-t", str(self.path))
        )
        return True

    def _security(self, *arguments: str) -> Finished:
        try:
            return run(_PROGRAM, *arguments, timeout=_CONFIRMATION)
        except SchedulerError as error:
            raise ServiceError(error.message) from error

    def _check(self, done: Finished) -> None:
        if done.code:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.code}"]
            raise ServiceError(last[0].removeprefix("security: "))
