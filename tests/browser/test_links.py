"""Login links in Chromium, through the real service: one that works once, and one for others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Remote
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser.notebook import run_a_cell
from tests.browser.test_browser import body, picture

BUTTON = "main form button"


@pytest.fixture
def rps(installed: Any) -> Iterator[Callable[..., str]]:
    """`rps` where the site has links that work once, and allows shares; sessions end with the test."""
    system = Path(installed.user.home) / "site.yaml"
    system.write_text('notebook: {link: once}\nlimits: {share: "1:00:00"}\n')

    def run(*arguments: str) -> str:
        done = installed.rps(*arguments, env={"RPS_SYSTEM_CONFIG": str(system)})
        return str(done.stdout.strip())

    yield run
    installed.rps("stop", "--all")


def test_a_link_that_works_once_and_a_share(
    rps: Callable[..., str], chromium_of_rps: Remote
) -> None:
    browser = chromium_of_rps
    found = json.loads(rps("start", "--no-wait", "--json"))
    url, name = found["url"], found["name"]
    base = url.partition("login?")[0]
    assert found["link"] == "once"
    wait = WebDriverWait(browser, 120, ignored_exceptions=(StaleElementReferenceException,))

    def press() -> None:
        wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, BUTTON))
        ActionChains(browser).send_keys(Keys.ENTER).perform()  # it has the focus

    # The waiting page leads on to the button, which two tabs show; the first one uses the link up.
    browser.get(url)
    assert "JupyterLab" not in browser.title
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, BUTTON))
    picture(browser, "login-link")
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    browser.get(url)
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, BUTTON))
    second = browser.current_window_handle
    browser.switch_to.window(first)
    press()
    assert run_a_cell(browser, "print(6 * 7)") == "42"
    browser.switch_to.window(second)
    press()
    wait.until(lambda b: "JupyterLab" in b.title)
    assert browser.current_url.startswith(f"{base}lab")
    assert json.loads(rps("status", name, "--json"))["url"] == base
    # What is in the history opens nothing where there is no cookie.
    browser.delete_all_cookies()
    browser.get(url)
    assert "does not work any more" in body(browser)
    assert f"rps url {name}" in body(browser)
    picture(browser, "login-link-used")
    browser.get(base)
    assert "opened by a link" in body(browser)

    # For another user, until it is taken back.
    share = json.loads(rps("share", name, "--for", "1h", "--json"))
    browser.get(share["url"])
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, BUTTON))
    assert "runs as its owner" in body(browser)
    picture(browser, "share-link")
    press()
    assert run_a_cell(browser, "print(6 * 8)") == "48"
    assert rps("share", name, "--list").count(share["share"]) == 1
    rps("share", name, "--revoke", share["share"])
    # JupyterLab's tab has lost its kernel's channels.
    state = ".jp-Notebook-ExecutionIndicator"
    wait.until(
        lambda b: b.find_element(By.CSS_SELECTOR, state).get_attribute("data-status") != "idle"
    )
    picture(browser, "share-taken-back")
    browser.get(share["url"])
    assert "does not work any more" in body(browser)
