"""`rps proxy ca --install` and `--remove`, in real browsers that check what they are shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import chromium
from tests.browser.firefox import Firefox, firefox


@pytest.fixture
def home(installed: Any) -> dict[str, str]:
    """Return the variables of a home without a browser's store, in which the user has the same CA."""
    place = installed.user.make(Path(installed.user.home) / f"home-{os.urandom(4).hex()}")
    return {"HOME": str(place), "XDG_CONFIG_HOME": str(place / ".config")}


@pytest.fixture
def url(over: dict[str, Any]) -> str:
    """Return the URL of a session, at which the service has a page."""
    return str(over["url"])


def test_chromium(
    installed: Any, need: Callable[[str], str], home: dict[str, str], url: str
) -> None:
    need("certutil")

    def title() -> str:
        with chromium(installed.user, Path(home["HOME"]), need) as browser:
            browser.get(url)
            return str(browser.title)

    assert title() == "Privacy error"
    printed = installed.rps("proxy", "ca", "--install", env=home).stdout
    assert "Chromium, Chrome and relatives: trusts the CA now" in printed
    assert title() != "Privacy error"
    installed.rps("proxy", "ca", "--remove", env=home)
    assert title() == "Privacy error"


def test_firefox(
    installed: Any, need: Callable[[str], str], home: dict[str, str], url: str
) -> None:
    need("certutil")
    profiles = installed.user.make(Path(home["HOME"]) / ".mozilla")
    profile = installed.user.make(installed.user.make(profiles / "firefox") / "x.default")

    def opens(*addresses: str) -> list[str]:
        with firefox(installed.user, need, profile, **home) as browser:
            return [opened(browser, address) for address in addresses]

    def opened(browser: Firefox, address: str) -> str:
        try:
            browser.get(address)
        except RuntimeError as error:
            return str(error)
        return str(browser.evaluate("document.location.host"))

    host = url.partition("//")[2].partition("/")[0]
    (seen,) = opens(url)
    assert "SEC_ERROR_UNKNOWN_ISSUER" in seen
    printed = installed.rps("proxy", "ca", "--install", env=home).stdout
    assert "Firefox, profile x.default: trusts the CA now" in printed
    # And for its own domain alone.
    own, others = opens(url, f"https://elsewhere.localhost:{host.partition(':')[2]}/")
    assert own == host
    assert "SSL_ERROR_BAD_CERT_DOMAIN" in others
    installed.rps("proxy", "ca", "--remove", env=home)
    (seen,) = opens(url)
    assert "SEC_ERROR_UNKNOWN_ISSUER" in seen
