"""The packaged applications in Chromium, through the real service, and their rows in docs/applications.md."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Remote
from selenium.webdriver.remote.file_detector import UselessFileDetector
from selenium.webdriver.support.wait import WebDriverWait

from tests.applications.pages import DASH, MARIMO, PANEL, SECOND, STREAMLIT, picture, write

Start = Callable[..., Any]


@pytest.fixture(autouse=True)
def _files_by_path(browser: Remote) -> None:
    """Give file inputs paths: Chromium is on this machine, and its driver takes no uploads."""
    browser.file_detector = UselessFileDetector()


DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "applications.md"
PATIENCE = 120  # seconds


def text(browser: Remote) -> str:
    """Return what the page shows, in its frames and in shadow trees too."""
    found = browser.execute_script(
        """
        const of = (node) => [...node.childNodes].map((child) =>
          child.nodeType === 3 ? child.data : ["SCRIPT", "STYLE"].includes(child.nodeName) ? "" :
          of(child) + (child.shadowRoot ? of(child.shadowRoot) : "")).join(" ");
        return of(document.body);
        """
    )
    return str(found)


def shows(browser: Remote, words: str) -> None:
    """Wait until the page shows these words."""

    def there(_: object) -> bool:
        try:
            return words in text(browser)
        except WebDriverException:  # between two pages
            return False

    try:
        WebDriverWait(browser, PATIENCE).until(there)
    except WebDriverException:
        raise AssertionError(f"{browser.current_url} shows no `{words}`: {text(browser)}") from None


def inside(browser: Remote, selector: str) -> Any:
    """Wait for an element, in shadow trees too, and return it."""
    script = """
    const find = (root) => root.querySelector(arguments[0]) ||
      [...root.querySelectorAll("*")].map((one) => one.shadowRoot && find(one.shadowRoot)).find(Boolean);
    return find(document) || null;
    """
    return WebDriverWait(browser, PATIENCE).until(lambda b: b.execute_script(script, selector))


def documented(name: str) -> list[str]:
    """Return whether websockets, uploads and deep links work, as the document says."""
    row = re.search(
        rf"^\| `{name}` \|(.*)\|$", DOCUMENT.read_text().partition("## What works")[2], re.M
    )
    assert row, name
    return [cell.strip() for cell in row[1].split("|")]


def test_streamlit(installed: Any, browser: Remote, start: Start, project: Path) -> None:
    write(installed.user, project / "app.py", STREAMLIT)
    installed.user.make(project / "pages")
    write(installed.user, project / "pages" / "second.py", SECOND)
    found = start("-s", "streamlit", "--", "app.py", cwd=project)
    browser.get(found["url"])
    shows(browser, "Streamlit here")
    sent = write(installed.user, project / "sent.bin", "x" * 100_000)
    inside(browser, "input[type=file]").send_keys(str(sent))
    shows(browser, "got 100000 bytes")
    browser.get(found["url"].partition("?")[0] + "second")
    shows(browser, "The second page")
    assert documented("streamlit") == ["yes", "yes", "yes"]


def test_panel(installed: Any, browser: Remote, start: Start, project: Path) -> None:
    write(installed.user, project / "panelapp.py", PANEL)
    found = start("-s", "panel", "--", "panelapp.py", cwd=project)
    browser.get(found["url"])
    shows(browser, "Panel here")
    assert browser.current_url.endswith("/app/panel/panelapp")
    field = inside(browser, "input[type=text]")
    field.send_keys("some words\n")
    shows(browser, "echo some words")
    sent = write(installed.user, project / "sent.bin", "x" * 100_000)
    inside(browser, "input[type=file]").send_keys(str(sent))
    shows(browser, "got 100000 bytes")
    picture(browser, "panel")
    browser.get(found["url"].partition("?")[0] + "panelapp?x=1")
    shows(browser, "Panel here")
    assert documented("panel") == ["yes", "yes", "yes"]


def test_dash(installed: Any, browser: Remote, start: Start, project: Path) -> None:
    write(installed.user, project / "dashapp.py", DASH)
    found = start("-s", "dash", "--", "dashapp.py", cwd=project)
    browser.get(found["url"])
    shows(browser, "Dash here")
    inside(browser, "input#words").send_keys("some words")
    shows(browser, "echo some words")
    sent = write(installed.user, project / "sent.bin", "x" * 100_000)
    inside(browser, "input[type=file]").send_keys(str(sent))
    shows(browser, "got 100000 bytes")
    picture(browser, "dash")
    browser.get(found["url"].partition("?")[0] + "deep/link")
    shows(browser, "at /app/dash/deep/link")
    assert documented("dash") == ["not used", "yes", "yes"]


def test_others_of_a_session_that_runs(
    installed: Any, browser: Remote, start: Start, project: Path
) -> None:
    write(installed.user, project / "nb.py", MARIMO)
    start("-d", str(project))

    def opened(app: str) -> str:
        url = str(installed.rps("url", "--app", app).stdout.strip())
        browser.get(url)
        return url.partition("?")[0]

    base = opened("marimo")
    shows(browser, "nb.py")
    browser.get(f"{base}?file=nb.py")
    shows(browser, "marimo says")  # the source of its cell
    picture(browser, "marimo")
    assert documented("marimo") == ["not tested", "not tested", "yes"]

    opened("tensorboard")
    shows(browser, "No dashboards are active")
    picture(browser, "tensorboard")
    assert documented("tensorboard") == ["not used", "none", "not tested"]

    opened("notebook")
    shows(browser, "nb.py")
    picture(browser, "notebook")
    opened("lab")
    shows(browser, "nb.py")
    picture(browser, "lab")


def test_an_application_that_the_session_does_not_have(installed: Any, start: Start) -> None:
    start()
    done = installed.rps("url", "--app", "tensorbord", check=False)
    assert done.returncode == 7
    assert "has no application `tensorbord`" in done.stderr
    assert "tensorboard" in done.stderr
