"""The domains for which a session's script can set cookies, in Chromium."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rps_proxy.parent_domains import shared_parents
from tests.browser.chromium import chromium, trust
from tests.stands.service import running_service


@pytest.mark.parametrize("domain", ["rps.example.org", "rps-example.org"])
def test_cookies_of_a_session(
    domain: str, tmp_path: Path, ordinary_user: Any, need: Callable[[str], str]
) -> None:
    """Test cookies for a domain above the service's, which reach every host below it.

    A registrable domain has no such domain above it.
    """
    home = ordinary_user.make(Path(ordinary_user.home) / f"visitor-of-{domain}")
    # Every name is this machine: no name server is queried.
    rules = f"--host-resolver-rules=MAP *.{domain} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with running_service(tmp_path, domain=domain) as service:
        ca_file = home / "ca.pem"
        ca_file.write_bytes((tmp_path / "ca" / "ca.pem").read_bytes())
        trust(ordinary_user, home, str(ca_file), need)
        with (
            service.notebook() as (session, _),
            chromium(ordinary_user, home, need, "normal", rules) as browser,
        ):
            browser.get(f"https://{session.host}/")
            above = [
                ".".join(domain.split(".")[start:]) for start in range(1, domain.count(".") + 1)
            ]
            for each in (domain, *above):
                browser.execute_script(f"document.cookie = 'of-{each}=1; domain={each}'")

            def sent_to(host: str) -> set[str]:
                found = browser.execute_cdp_cmd(
                    "Network.getCookies", {"urls": [f"https://{host}/"]}
                )
                return {cookie["name"] for cookie in found["cookies"]}

            shared = shared_parents(domain)
            assert f"of-{domain}" in sent_to(f"another.{domain}")
            for each in above:
                assert sent_to(f"www.{each}") == {
                    f"of-{one}" for one in shared if each.endswith(one)
                }
