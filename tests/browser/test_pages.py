"""The pages in Chromium, at a service of the test's own: what they show, and that they go on by themselves.

`make pictures` (RPS_PICTURES=1) puts those that the documents show into docs/pictures.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import JavascriptException, StaleElementReferenceException
from selenium.webdriver import Remote
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser.chromium import chromium, trust
from tests.engines.stand import Stand, running
from tests.faults.service_stand import DOMAIN, Notebook, Service, Session, running_service

PROJECT = Path(__file__).resolve().parents[2]
PICTURES = PROJECT / "docs" / "pictures"
SHOWN = (
    "queued-light",
    "queued-dark",
    "queued-phone",
    "starting-light",
    "ready-light",
    "ended-light",
)
FOR_THE_DOCUMENTS = os.environ.get("RPS_PICTURES") == "1"  # of now: a test sees none of these
LARGEST = 60_000  # bytes of a picture in the documents
ARTEFACTS = PROJECT / "artefacts"
REASON = "its account has used up what all its jobs together may use"
DESKTOP, PHONE = (1000, 640), (390, 780)
TOKEN = "?token=0123456789abcdef"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(scope="module")
def browser(service: Service, ordinary_user: Any, need: Callable[[str], str]) -> Iterator[Remote]:
    """One for all of them, with a home of its own, in which it trusts this service's CA."""
    home = ordinary_user.make(Path(ordinary_user.home) / "pages")
    ca_file = home / "ca.pem"  # the service's own directory is closed
    ca_file.write_bytes((service.directory / "ca" / "ca.pem").read_bytes())
    trust(ordinary_user, home, str(ca_file), need)
    with chromium(ordinary_user, home, need, page_load="none") as remote:
        yield remote


@pytest.fixture(params=["haproxy", "apache"])
def engine(
    request: pytest.FixtureRequest,
    service: Service,
    tmp_path: Path,
    need: Callable[[str], str],
) -> Iterator[Stand]:
    """A service behind an engine of its own, with the CA that the browser trusts."""
    shutil.copytree(service.directory / "ca", tmp_path / "ca")
    with running(tmp_path, request.param, need) as stand:
        yield stand


def linked(service: Service) -> Session:
    session = service.issue(cluster="comet", scheduler="slurm", user="alice")
    path = f"sessions/{session.name}/link"
    assert service.call("POST", path, session.claim, {"job_id": "17"})[0] == 200
    return session


def say(service: Service, session: Session, **report: Any) -> None:
    path = f"sessions/{session.name}/job"
    assert service.call("POST", path, session.claim, report)[0] == 200


def shows(browser: Remote, phase: str) -> None:
    """Wait until the page says so, by itself."""
    until(
        browser,
        lambda b: b.execute_script("return document.documentElement.dataset.state") == phase,
    )


def until(browser: Remote, holds: Callable[[Remote], object]) -> None:
    """Wait; a page that is just being replaced by another may have no element yet, or none any more."""
    errors = (JavascriptException, StaleElementReferenceException)
    WebDriverWait(browser, 60, 0.1, ignored_exceptions=errors).until(holds)


def asks_its_own_host_alone_and_without_the_token(browser: Remote, session: Session) -> bool:
    """Of all that the page has loaded and asked for."""
    script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    asked = browser.execute_script(script)
    ours = f"https://{session.host}/.rps/"
    return f"{ours}page.js" in asked and all(
        url.startswith(ours) and "token" not in url and "?" not in url for url in asked
    )


def text(browser: Remote) -> str:
    return browser.find_element(By.TAG_NAME, "body").text


def dress(browser: Remote, size: tuple[int, int], scheme: str) -> None:
    emulate(browser, "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1],
            deviceScaleFactor=1, mobile=size == PHONE)  # fmt: skip
    features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    emulate(browser, "Emulation.setEmulatedMedia",
            features=[{"name": name, "value": value} for name, value in features.items()])  # fmt: skip


def emulate(browser: Remote, command: str, **parameters: Any) -> None:
    """One command of Chromium's own protocol."""
    browser.execute("executeCdpCommand", {"cmd": command, "params": parameters})


def pictures(browser: Remote, name: str) -> None:
    """The page as it is, on a desktop, in the dark and on a phone. Nothing may stick out to the side."""
    ARTEFACTS.mkdir(exist_ok=True)
    for kind, size, scheme in (
        ("light", DESKTOP, "light"), ("dark", DESKTOP, "dark"), ("phone", PHONE, "light"),
    ):  # fmt: skip
        dress(browser, size, scheme)
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= size[0]
        taken = ARTEFACTS / f"{name}-{kind}.png"
        assert browser.save_screenshot(str(taken))
        if FOR_THE_DOCUMENTS and taken.stem in SHOWN:
            assert taken.stat().st_size < LARGEST
            PICTURES.mkdir(exist_ok=True)
            shutil.copy(taken, PICTURES)


def enters(browser: Remote, service: Service, session: Session, notebook: Notebook) -> None:
    """The notebook is there, and the page goes to it by itself: to the very address, its token included."""
    assert service.redeem(session, notebook.port)[0] == 200
    until(browser, lambda _: notebook.requests)
    assert notebook.requests[0] == f"GET /lab{TOKEN} HTTP/1.1"
    assert browser.current_url == f"https://{session.host}/lab{TOKEN}"


def test_from_issue_to_notebook_without_a_reload_by_hand(
    service: Service, browser: Remote, tmp_path: Path
) -> None:
    session = linked(service)
    browser.get(f"https://{session.host}/lab{TOKEN}")
    shows(browser, "pending")
    browser.execute_script("window.loadedOnce = true")
    pictures(browser, "pending")
    say(service, session, state="queued", reason=REASON, estimate=time.time() + 5400)
    shows(browser, "queued")
    assert f"Why your job waits: {REASON}." in text(browser)
    assert "(in 90 minutes)" in text(browser)
    assert "less than a minute ago" in text(browser)
    pictures(browser, "queued")
    with Notebook(service.certificate(session), tmp_path) as notebook:
        shows(browser, "starting")
        assert REASON not in text(browser)
        pictures(browser, "starting")
        assert browser.execute_script("return window.loadedOnce") is True
        assert asks_its_own_host_alone_and_without_the_token(browser, session)
        enters(browser, service, session, notebook)
    assert "0123456789abcdef" not in service.log()


def test_through_an_engine_too(engine: Stand, browser: Remote, tmp_path: Path) -> None:
    session = linked(engine)
    browser.get(f"https://{session.host}/lab{TOKEN}")
    shows(browser, "pending")
    browser.execute_script("window.loadedOnce = true")
    say(engine, session, state="queued", reason=REASON)
    shows(browser, "queued")
    with Notebook(engine.certificate(session), tmp_path) as notebook:
        shows(browser, "starting")
        assert browser.execute_script("return window.loadedOnce") is True
        enters(browser, engine, session, notebook)
    browser.get(f"https://{session.host}/{TOKEN}")  # the notebook is away, its route is not
    shows(browser, "not-answering")
    engine.revoke(session)
    shows(browser, "ended")
    assert "0123456789abcdef" not in engine.log() + engine.engine_log()


def test_ready_is_said_while_the_notebook_opens(service: Service, browser: Remote) -> None:
    session = linked(service)
    service.certificate(session)
    browser.get(f"https://{session.host}/{TOKEN}")
    shows(browser, "starting")
    with socket.create_server(("127.0.0.1", 0)) as slow:  # takes the connection, and says nothing
        assert service.redeem(session, slow.getsockname()[1])[0] == 200
        shows(browser, "ready")
        emulate(browser, "Page.stopLoading")  # of the notebook, else each picture waits for it
        pictures(browser, "ready")


def test_the_end_of_a_job_that_waited(service: Service, browser: Remote) -> None:
    session = linked(service)
    browser.get(f"https://{session.host}/{TOKEN}")
    shows(browser, "pending")
    say(service, session, state="gone", reason="the job was cancelled")
    shows(browser, "ended")
    assert "The job was cancelled." in text(browser)
    pictures(browser, "ended")


def test_without_a_stream_it_asks(service: Service, browser: Remote, tmp_path: Path) -> None:
    session = linked(service)
    emulate(browser, "Network.enable")
    emulate(browser, "Network.setBlockedURLs", urls=["*/.rps/events"])
    try:
        browser.get(f"https://{session.host}/lab{TOKEN}")
        shows(browser, "pending")
        say(service, session, state="running")
        shows(browser, "starting")
        assert asks_its_own_host_alone_and_without_the_token(browser, session)
        with Notebook(service.certificate(session), tmp_path) as notebook:
            enters(browser, service, session, notebook)
    finally:
        emulate(browser, "Network.setBlockedURLs", urls=[])
        emulate(browser, "Network.disable")


def test_without_javascript_the_page_says_the_same_and_opens_the_notebook(
    service: Service, browser: Remote, tmp_path: Path
) -> None:
    session = linked(service)
    say(service, session, state="queued", reason=REASON, estimate=time.time() + 5400)
    emulate(browser, "Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.get(f"https://{session.host}/lab{TOKEN}")
        until(browser, lambda b: f"Why your job waits: {REASON}." in text(b))
        until(browser, lambda b: "in about 90 minutes" in text(b))
        say(service, session, state="running")
        until(browser, lambda b: "Your notebook is starting" in b.title)
        with Notebook(service.certificate(session), tmp_path) as notebook:
            enters(browser, service, session, notebook)
    finally:
        emulate(browser, "Emulation.setScriptExecutionDisabled", value=False)


def test_a_page_takes_no_login_of_another_session_away(service: Service, browser: Remote) -> None:
    """By the name of its cookie: others a page can set for the domain that all sessions share."""
    mine, other = linked(service), linked(service)
    browser.get(f"https://{mine.host}/")
    shows(browser, "pending")
    for name in ("__Host-login", "tossed"):
        cookie = f"{name}=x; Domain={DOMAIN}; Path=/; Secure"
        browser.execute_script("document.cookie = arguments[0]", cookie)
    browser.get(f"https://{other.host}/")
    shows(browser, "pending")
    assert browser.execute_script("return document.cookie") == "tossed=x"
    browser.delete_all_cookies()


def test_pages_that_nobody_waits_on(service: Service, browser: Remote) -> None:
    browser.get(f"https://never-issued-name.{DOMAIN}:{service.port}/")
    shows(browser, "unknown")
    assert "never-issued-name" not in text(browser)
    pictures(browser, "unknown")
    with service.notebook() as (session, _):
        pass
    browser.get(f"https://{session.host}/{TOKEN}")
    shows(browser, "not-answering")
    pictures(browser, "not-answering")
    service.revoke(session)
    shows(browser, "ended")
