"""The service's pages in Chromium.

What they show, and their changes without a reload.

`make pictures` (RPS_PICTURES=1) writes the pictures of the documents to docs/pictures.
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
from tests.stands.service import DOMAIN, Notebook, Service, Session, running_service

PROJECT = Path(__file__).resolve().parents[2]
PICTURES = PROJECT / "docs" / "pictures"
SHOWN = (
    "queued-light",
    "queued-dark",
    "queued-phone",
    "starting-light",
    "ready-light",
    "queued-de-light",
    "home-light",
    "ended-light",
)
FOR_THE_DOCUMENTS = os.environ.get("RPS_PICTURES") == "1"  # current ones, which no test sees
LARGEST = 70_000  # bytes of a picture in the documents
ARTEFACTS = PROJECT / "artefacts"
REASON, WORDS = "queue-limit", "a limit of the queue or the account is reached"
DESKTOP, PHONE = (1000, 640), (390, 780)
LOGO = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40" width="40" height="40">
<circle cx="20" cy="20" r="18" fill="#b44"/></svg>"""
ARABIC = """\
direction: rtl
headings: {queued: في قائمة الانتظار}
texts: {queued-why: "مهمتك تنتظر: {why}."}
steps: {queued: في الانتظار, starting: يبدأ, ready: جاهز}
labels: {estimate: وقت البدء المتوقع, seen: آخر تقرير من المجدول}
causes: {queue-limit: بلغت حدود القائمة أو الحساب}
"""
TOKEN = "?token=0123456789abcdef"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(scope="module")
def browser(service: Service, ordinary_user: Any, need: Callable[[str], str]) -> Iterator[Remote]:
    """Start one browser for all tests; its home has this service's CA."""
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
    """Yield a service behind an engine of its own, with the CA that the browser trusts."""
    shutil.copytree(service.directory / "ca", tmp_path / "ca")
    with running(tmp_path, request.param, need) as stand:
        yield stand


@pytest.fixture(scope="module")
def site(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield a service with a site's name, logo, message and a language from right to left."""
    directory = tmp_path_factory.mktemp("site")
    shutil.copytree(service.directory / "ca", directory / "ca")
    (directory / "logo.svg").write_text(LOGO)
    (directory / "texts").mkdir()
    (directory / "texts" / "ar.yaml").write_text(ARABIC)
    settings: dict[str, Any] = {
        "pages.title": "Comet at SDSC",
        "pages.logo": directory / "logo.svg",
        "pages.message": "Maintenance on Monday, 8:00 to 12:00: sessions end then.",
        "pages.texts": directory / "texts",
        "support.name": "the HPC team",
        "support.url": "https://help.example.org/",
    }
    with running_service(directory, **settings) as site:
        yield site


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
    """Wait; a page that is being replaced may lack the element for a moment."""
    errors = (JavascriptException, StaleElementReferenceException)
    WebDriverWait(browser, 60, 0.1, ignored_exceptions=errors).until(holds)


def asks_its_own_host_alone_and_without_the_token(browser: Remote, session: Session) -> bool:
    """Check all that the page has loaded and requested."""
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
    forced = "active" if scheme == "forced" else "none"
    features = {"prefers-color-scheme": "light" if scheme == "forced" else scheme,
                "prefers-reduced-motion": "reduce", "forced-colors": forced}  # fmt: skip
    emulate(browser, "Emulation.setEmulatedMedia",
            features=[{"name": name, "value": value} for name, value in features.items()])  # fmt: skip


def emulate(browser: Remote, command: str, **parameters: Any) -> None:
    """Run one command of Chromium's DevTools protocol."""
    browser.execute("executeCdpCommand", {"cmd": command, "params": parameters})


def pictures(browser: Remote, name: str) -> None:
    """Take pictures on a desktop, in dark mode and on a phone; check for overflow."""
    ARTEFACTS.mkdir(exist_ok=True)
    for kind, size, scheme in (
        ("light", DESKTOP, "light"), ("dark", DESKTOP, "dark"), ("forced", DESKTOP, "forced"),
        ("phone", PHONE, "light"),
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


def speak(browser: Remote, accepted: str) -> None:
    """Set the languages that the browser's user prefers."""
    agent = browser.execute_script("return navigator.userAgent")
    emulate(browser, "Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=accepted)


def style(browser: Remote, selector: str, pseudo: str, name: str) -> str:
    """Return the computed style of a pseudo-element."""
    script = (
        "return getComputedStyle(document.querySelector(arguments[0]), arguments[1])[arguments[2]]"
    )
    found: str = browser.execute_script(script, selector, pseudo, name)
    return found


def enters(browser: Remote, service: Service, session: Session, notebook: Notebook) -> None:
    """Start the notebook; check that the page opens its exact address with the token."""
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
    assert f"Your job is waiting: {WORDS}." in text(browser)
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


def test_ready_is_shown_while_the_notebook_opens(service: Service, browser: Remote) -> None:
    session = linked(service)
    service.certificate(session)
    browser.get(f"https://{session.host}/{TOKEN}")
    shows(browser, "starting")
    with socket.create_server(("127.0.0.1", 0)) as slow:  # accepts, does not answer
        assert service.redeem(session, slow.getsockname()[1])[0] == 200
        shows(browser, "ready")
        emulate(browser, "Page.stopLoading")  # of the notebook, else each picture waits for it
        pictures(browser, "ready")


def test_the_end_of_a_job_that_waited(service: Service, browser: Remote) -> None:
    session = linked(service)
    browser.get(f"https://{session.host}/{TOKEN}")
    shows(browser, "pending")
    say(service, session, state="gone", reason="cancelled")
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
        until(browser, lambda b: f"Your job is waiting: {WORDS}." in text(b))
        until(browser, lambda b: "in about 90 minutes" in text(b))
        say(service, session, state="running")
        until(browser, lambda b: "Your notebook is starting" in b.title)
        with Notebook(service.certificate(session), tmp_path) as notebook:
            enters(browser, service, session, notebook)
    finally:
        emulate(browser, "Emulation.setScriptExecutionDisabled", value=False)


def test_a_page_takes_no_login_of_another_session_away(service: Service, browser: Remote) -> None:
    """Test a login cookie's name.

    Pages can set others for the sessions' common domain.
    """
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


def test_pages_that_no_visitor_waits_on(service: Service, browser: Remote) -> None:
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


@pytest.mark.parametrize(
    ("accepted", "tag", "words"),
    [
        (
            "de-AT,de",
            "de",
            ("In der Warteschlange", "(in 90 Minuten)", "weniger"),
        ),
        (
            "es-MX,es",
            "es",
            ("En la cola de espera", "(dentro de 90 minutos)", "menos de un minuto"),
        ),
        (
            "fr-CA,fr",
            "fr",
            ("Dans la file d'attente", "(dans 90 minutes)", "il y a moins d'une minute"),
        ),
        ("ar", "ar", ("في قائمة الانتظار", "وقت البدء المتوقع")),
    ],
)
def test_in_the_language_of_its_user(
    site: Service, browser: Remote, accepted: str, tag: str, words: tuple[str, ...]
) -> None:
    """Test the page and what its script writes."""
    session = linked(site)
    speak(browser, accepted)
    try:
        browser.get(f"https://{session.host}/{TOKEN}")
        shows(browser, "pending")
        say(site, session, state="queued", reason=REASON, estimate=time.time() + 5400)
        shows(browser, "queued")
        for word in (*words, session.name, "comet", "Comet at SDSC", "Maintenance on Monday"):
            assert word in text(browser)
        root = "return document.documentElement"
        direction = "rtl" if tag == "ar" else "ltr"
        assert browser.execute_script(f"{root}.lang + {root[7:]}.dir") == tag + direction
        assert browser.title == f"{words[0]} · {session.name} · comet"
        assert (
            browser.execute_script("return document.querySelector('.site img').naturalWidth") == 40
        )
        # The line between the steps begins at the step before it.
        start = "right" if direction == "rtl" else "left"
        assert style(browser, ".steps li + li", "::after", start).startswith("-")
        pictures(browser, f"queued-{tag}")
    finally:
        speak(browser, "en-US,en")


def test_forced_colors_leave_the_steps_apart(site: Service, browser: Remote) -> None:
    """Test the modes of Windows that replace colors: no background of ours is shown."""
    session = linked(site)
    say(site, session, state="queued", reason=REASON)
    browser.get(f"https://{session.host}/")
    shows(browser, "queued")
    dress(browser, DESKTOP, "forced")
    filled = style(browser, ".steps li:first-child", "::before", "backgroundColor")
    assert filled != style(browser, ".steps li:last-child", "::before", "backgroundColor")
    assert style(browser, ".steps li + li", "::after", "borderTopWidth") == "2px"


def test_the_page_of_the_domain(site: Service, browser: Remote) -> None:
    browser.get(f"https://{DOMAIN}:{site.port}/")
    shows(browser, "home")
    for words in ("Notebooks on compute nodes", "Comet at SDSC", "the HPC team"):
        assert words in text(browser)
    assert browser.title == "Comet at SDSC"
    icon = browser.find_element(By.CSS_SELECTOR, "link[rel=icon]").get_attribute("href")
    # Loaded as the browser loads it, under the page's policy.
    script = """const [url, done] = arguments; const image = new Image(); image.src = url;
        image.onload = () => done(image.naturalWidth > 0); image.onerror = () => done(false);"""
    assert browser.execute_async_script(script, icon) is True
    pictures(browser, "home")
