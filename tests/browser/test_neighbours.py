"""What a page of one session can do, in Chromium, to the visitor's other sessions."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Remote
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser.chromium import chromium, trust
from tests.engines.stand import Stand, running
from tests.engines.test_neighbours import REACHING
from tests.stands.service import DOMAIN, Session

ARTEFACTS = Path(__file__).resolve().parents[2] / "artefacts"
ENGINES = ("embedded", "haproxy", "apache")


@pytest.fixture(scope="module")
def stands(
    tmp_path_factory: pytest.TempPathFactory, need: Callable[[str], str]
) -> Iterator[dict[str, Stand]]:
    """Yield a service with each engine; all have one CA."""
    with ExitStack() as all_of_them:
        stands: dict[str, Stand] = {}
        for kind in ENGINES:
            directory = tmp_path_factory.mktemp(kind)
            for first in stands.values():
                shutil.copytree(first.directory / "ca", directory / "ca", dirs_exist_ok=True)
            lasting: Any = {"lease.length": 3600}
            stands[kind] = all_of_them.enter_context(running(directory, kind, need, **lasting))
        yield stands


@pytest.fixture(params=ENGINES)
def stand(request: pytest.FixtureRequest, stands: dict[str, Stand]) -> Stand:
    return stands[request.param]


@pytest.fixture(scope="module")
def chrome(
    stands: dict[str, Stand], ordinary_user: Any, need: Callable[[str], str]
) -> Iterator[Remote]:
    """Start one Chromium that trusts that CA."""
    home = ordinary_user.make(Path(ordinary_user.home) / "neighbours")
    ca_file = home / "ca.pem"  # the service's own directory is closed
    ca_file.write_bytes((stands["embedded"].directory / "ca" / "ca.pem").read_bytes())
    trust(ordinary_user, home, str(ca_file), need)
    ARTEFACTS.mkdir(exist_ok=True)
    with chromium(ordinary_user, home, need) as remote:
        yield remote


@pytest.fixture
def browser(chrome: Remote) -> Remote:
    """Provide the browser without any cookie."""
    chrome.execute_cdp_cmd("Network.clearBrowserCookies", {})
    return chrome


def visit(browser: Remote, session: Session) -> None:
    browser.get(f"https://{session.host}/")


def cookies(browser: Remote) -> set[str]:
    """Return the cookies that the page's scripts see."""
    said = browser.execute_script("return document.cookie")
    return {pair.partition("=")[0] for pair in said.split("; ") if pair}


def fetched(browser: Remote, url: str, **options: Any) -> str:
    """Have the page fetch; return the answer's body, or how it failed."""
    script = (
        "const done = arguments[2];"
        "fetch(arguments[0], arguments[1]).then(r => r.text()).then(done, e => done(String(e)))"
    )
    said: str = browser.execute_async_script(script, url, options)
    return said


CLEARING = {
    "its head": f"HTTP/1.1 200 OK\r\n{REACHING.replace(': x', ': *')}"
    'Clear-Site-Data: "cookies", "storage"\r\nContent-Length: 1\r\n\r\nx',
    "an interim head": 'HTTP/1.1 103 Early Hints\r\nClear-Site-Data: "cookies"\r\n'
    f"Set-Cookie: tossed=1; Domain={DOMAIN}\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    "a trailer": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    f'Clear-Site-Data: "cookies"\r\nSet-Cookie: tossed=1; Domain={DOMAIN}\r\n\r\n',
}


@pytest.mark.parametrize("where", CLEARING)
def test_an_answer_takes_no_cookie_of_another_session_away(
    stand: Stand, browser: Remote, where: str
) -> None:
    with stand.notebook() as (mine, _), stand.notebook() as (other, _):
        visit(browser, mine)
        browser.execute_script("document.cookie = '__Host-mine=1; Path=/; Secure'")
        visit(browser, other)
        raw = CLEARING[where].encode().hex()
        assert fetched(browser, "/raw", headers={"X-Answer": raw}) == "x"
        visit(browser, mine)
        assert "__Host-mine" in cookies(browser)
        assert "tossed" not in cookies(browser)


POST = "fetch(arguments[0], {method: 'POST', mode: 'no-cors', credentials: 'include', body: 'x'})"
OPENED = """
  const [url, done] = arguments;
  const socket = new WebSocket(url);
  socket.onopen = () => done(true);
  socket.onerror = () => done(false);
"""
REFERRERS = """
  const meta = document.createElement('meta');
  meta.name = 'referrer';
  meta.content = arguments[0];
  document.head.append(meta);
"""
FORM = """
  const form = document.createElement('form');
  form.method = 'POST';
  form.action = arguments[0];
  document.body.append(form);
  form.submit();
"""


def test_a_page_changes_nothing_in_another_session(stand: Stand, browser: Remote) -> None:
    with stand.notebook() as (mine, _), stand.notebook() as (other, notebook):
        target = f"https://{other.host}/api/shutdown"
        visit(browser, mine)
        browser.execute_script(f"document.cookie = '_xsrf=known; Domain={DOMAIN}; Path=/; Secure'")
        browser.execute_async_script(f"{POST}.finally(arguments[1])", f"{target}?_xsrf=known")
        socket = f"wss://{other.host}/ws"
        assert browser.execute_async_script(OPENED, socket) is False
        browser.execute_script(FORM, f"{target}?_xsrf=known")
        WebDriverWait(browser, 30).until(
            lambda b: b.title.startswith("Request of another page refused")
        )
        assert browser.save_screenshot(str(ARTEFACTS / f"foreign-page-{stand.kind}.png"))
        assert not [line for line in notebook.requests if "/ws" in line or "shutdown" in line]

        visit(browser, other)
        assert browser.execute_async_script(OPENED, socket) is True
        for policy in ("strict-origin-when-cross-origin", "no-referrer"):
            browser.execute_script(REFERRERS, policy)
            assert '"line": "POST /api/shutdown HTTP/1.1"' in fetched(
                browser, target, method="POST"
            )
        before = len(notebook.requests)
        browser.execute_script(FORM, target)  # says `Origin: null`
        WebDriverWait(browser, 30).until(lambda _: len(notebook.requests) > before)
        assert notebook.requests[before] == "POST /api/shutdown HTTP/1.1"


# The end of the answer has Chromium set them before the next request.
BOMB = """
  for (let number = 0; number < arguments[0]; number += 1) {
    const cookie = `bomb${number}=${'x'.repeat(4085)}`;
    document.cookie = `${cookie}; ${arguments[1]}; Secure; Max-Age=31536000`;
  }
  return document.cookie.length;
"""


# How many; over HTTP/2 more end the connection (docs/security.md).
COUNTS = {"embedded": (20, 150), "haproxy": (20, 28), "apache": (20,)}


@pytest.mark.parametrize(
    ("engine", "count"), [(kind, count) for kind, counts in COUNTS.items() for count in counts]
)
def test_cookies_that_fill_requests_are_removed(
    stands: dict[str, Stand], browser: Remote, engine: str, count: int
) -> None:
    stand = stands[engine]
    with stand.notebook() as (mine, _), stand.notebook() as (other, notebook):
        waiting = stand.issue()
        visit(browser, other)
        browser.execute_script(
            "document.cookie = '__Host-login=1; Path=/; Secure'; document.cookie = '_xsrf=2; Path=/'"
        )
        visit(browser, mine)
        browser.execute_script(BOMB, count, f"Domain={DOMAIN}; Path=/")
        before = len(notebook.requests)
        browser.get(f"https://{other.host}/lab/tree/a.ipynb?token=0123")
        WebDriverWait(browser, 30).until(lambda b: b.title.startswith("Your cookies are too large"))
        assert browser.save_screenshot(str(ARTEFACTS / f"too-large-{stand.kind}.png"))
        assert "Your logins are unchanged" in browser.find_element(By.TAG_NAME, "body").text
        assert cookies(browser) >= {"__Host-login", "_xsrf"}
        assert len([name for name in cookies(browser) if name.startswith("bomb")]) <= 2
        assert notebook.requests[before:] == []
        browser.find_element(By.ID, "again").click()
        line = "GET /lab/tree/a.ipynb?token=0123 HTTP/1.1"
        WebDriverWait(browser, 30).until(lambda _: line in notebook.requests)
        visit(browser, mine)
        browser.execute_script(BOMB, count, f"Domain={DOMAIN}; Path=/")
        visit(browser, waiting)
        assert browser.title.startswith("Your cookies are too large")
        visit(browser, waiting)
        assert browser.title.startswith("Waiting for your notebook")


@pytest.mark.parametrize(
    "where",
    [f"Domain={DOMAIN}; Path=/lab", f"Domain={DOMAIN}; Path=/lab/tree/", "Path=/lab/tree"],
)
def test_wherever_such_cookies_are(stands: dict[str, Stand], browser: Remote, where: str) -> None:
    with stands["embedded"].notebook() as (session, notebook):
        visit(browser, session)
        browser.execute_script(BOMB, 20, where)
        url = f"https://{session.host}/lab/tree/a.ipynb"
        browser.get(url)
        assert browser.title.startswith("Your cookies are too large")
        browser.get(url)
        assert "GET /lab/tree/a.ipynb HTTP/1.1" in notebook.requests


def test_of_each_kind_of_cookie_the_largest_go_first(
    stands: dict[str, Stand], browser: Remote
) -> None:
    """Test partitioned cookies.

    Chromium keeps 10 KB of them, which displaced all others.
    """
    with stands["embedded"].notebook() as (session, _):
        visit(browser, session)
        browser.execute_script(BOMB, 2, f"Domain={DOMAIN}; Path=/; Partitioned")
        assert {"bomb0", "bomb1"} <= cookies(browser)
        browser.execute_script(BOMB.replace("bomb", "more"), 20, f"Domain={DOMAIN}; Path=/")
        browser.execute_script("document.cookie = 'small=1; Path=/'")
        browser.get(f"https://{session.host}/lab/tree/a.ipynb")
        assert browser.title.startswith("Your cookies are too large")
        assert "small" in cookies(browser)
        left = [name for name in cookies(browser) if name.startswith(("bomb", "more"))]
        assert len(left) <= 1
