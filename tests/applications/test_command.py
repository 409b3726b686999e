"""`rps start -s command -- …` with a real Streamlit: in Chromium, through the door, and its ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium.webdriver import Remote
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.applications.pages import STREAMLIT, picture, write

Start = Callable[..., Any]


def text(browser: Remote) -> str:
    return browser.find_element(By.TAG_NAME, "body").text


def pressed(browser: Remote) -> bool:
    """Press the page's button once it is there."""
    for button in browser.find_elements(By.XPATH, "//button[normalize-space()='press']"):
        button.click()
        return True
    return False


def test_the_url_leads_right_into_a_streamlit(
    installed: Any, browser: Remote, start: Start, project: Path
) -> None:
    write(installed.user, project / "app é.py", STREAMLIT)
    found = start("-s", "command", "--", "streamlit", "run", "app é.py", cwd=project)
    assert found["app"] == "command"
    assert found["directory"] == str(project)
    assert not (project / "x").exists()

    browser.get(found["url"])
    WebDriverWait(browser, 60).until(lambda b: "Streamlit here" in text(b))
    assert browser.current_url == found["url"].partition("?")[0]  # without the token
    # A click is answered over the websocket.
    WebDriverWait(browser, 60).until(pressed)
    WebDriverWait(browser, 60).until(lambda b: f"pressed in {project}" in text(b))
    picture(browser, "streamlit")
