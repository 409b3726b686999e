"""Have this user's browsers trust a CA, or no longer: what was done to which store, and what could not be."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from rps_core.errors import ServiceError, UsageError
from rps_core.installation import package_advice
from rps_core.support import PHRASE
from rps_proxy.trust import nss
from rps_proxy.trust.certificate import CaFile
from rps_proxy.trust.keychain import Keychain
from rps_proxy.trust.stores import found

BY_HAND = (
    "By hand: Firefox: Settings, Privacy & Security, Certificates, View Certificates, Authorities, Import. "
    "Chromium: chrome://certificate-manager, Custom, Installed by you, Trusted certificates, Import."
)


class Change(Enum):
    """What became of a store, as it is printed."""

    ADDED = "trusts the CA now"
    ALREADY = "trusted the CA already"
    REMOVED = "no longer trusts the CA"
    ABSENT = "did not have the CA"
    FAILED = "not changed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one store; `reason`: why it was not changed."""

    browser: str
    change: Change
    reason: str = ""

    def __str__(self) -> str:
        reason = f": {self.reason}" if self.reason else ""
        return f"{self.browser}: {self.change.value}{reason}"


class TrustStore(Protocol):
    """A store of trusted CAs; methods raise ServiceError, whose message is the reason alone."""

    @property
    def browser(self) -> str:
        """The browser that it is of, in words for the user."""
        ...

    def trusts(self, authority: CaFile) -> bool:
        """Return whether it trusts a CA for servers."""
        ...

    def add(self, authority: CaFile) -> None:
        """Trust a CA for servers."""
        ...

    def remove(self, authority: CaFile) -> bool:
        """Remove a CA; return whether it was there."""
        ...


def stores() -> Sequence[TrustStore]:
    """Return the stores of this user's browsers."""
    return [Keychain()] if sys.platform == "darwin" else found()


def check_tools(authority: CaFile) -> None:
    """Check that there is a store, that it is this user's, and the program that changes it.

    Raises:
        UsageError: one of them is not there; the hint says how else the CA gets trusted.
    """
    if os.geteuid() == 0 and os.environ.get("SUDO_USER"):
        raise UsageError(
            "The browsers' stores belong to you, not to root.", "Run this without sudo."
        )
    if not stores():
        raise UsageError(
            "Found no browser's certificate store in your home directory.",
            "Start the browser once, and run this again. If the browser runs on another machine, import "
            f"{authority.path} there. {BY_HAND}",
        )
    if sys.platform != "darwin" and shutil.which(nss.PROGRAM) is None:
        command = package_advice(nss.PACKAGES)
        get = f"As root: {command}; then run this again." if command else (
            f"It is in NSS's tools: ask {PHRASE} for them."
        )  # fmt: skip
        raise UsageError(
            f"Cannot change the browsers' stores: `{nss.PROGRAM}` is not installed.",
            f"{get} Or import {authority.path}. {BY_HAND}",
        )


def install(authority: CaFile) -> Iterator[Outcome]:
    """Have each store trust the CA; yield what became of it."""
    for store in stores():
        try:
            already = store.trusts(authority)
            if not already:
                store.add(authority)
        except ServiceError as error:
            yield Outcome(store.browser, Change.FAILED, error.message)
        else:
            yield Outcome(store.browser, Change.ALREADY if already else Change.ADDED)


def remove(authority: CaFile) -> Iterator[Outcome]:
    """Have no store trust the CA; yield what became of it."""
    for store in stores():
        try:
            removed = store.remove(authority)
        except ServiceError as error:
            yield Outcome(store.browser, Change.FAILED, error.message)
        else:
            yield Outcome(store.browser, Change.REMOVED if removed else Change.ABSENT)
