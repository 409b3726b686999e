"""Packaged applications of a file, in Chromium, through the real service; their rows in the document."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium.webdriver import Remote

from tests.applications.pages import (
    DASH,
    PANEL,
    SECOND,
    STREAMLIT,
    documented,
    inside,
    picture,
    shows,
    write,
)

Start = Callable[..., Any]


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
