"""Chromium, as the ordinary user, through the real service to a real JupyterLab.

It trusts the local CA as a user makes it trusted (certutil); certificate errors are not switched off.
Pictures of what it saw are kept in `artefacts/`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver import Remote
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser.chromium import chromium, trust

ARTEFACTS = Path(__file__).resolve().parent.parent.parent / "artefacts"


@pytest.fixture
def browser(installed: Any, need: Callable[[str], str]) -> Iterator[Remote]:
    """A Chromium with a fresh profile that trusts the CA whose path `rps proxy ca` prints."""
    user, home = installed.user, Path(installed.user.home)
    trust(user, home, installed.rps("proxy", "ca").stdout.strip(), need)
    try:
        with chromium(user, home, need) as remote:
            yield remote
    finally:
        installed.rps("stop", "--all")


def picture(browser: Remote, name: str) -> None:
    ARTEFACTS.mkdir(exist_ok=True)
    assert browser.save_screenshot(str(ARTEFACTS / f"{name}.png"))


def body(browser: Remote) -> str:
    return browser.find_element(By.TAG_NAME, "body").text


def test_from_the_waiting_page_to_a_cell_that_ran(installed: Any, browser: Remote) -> None:
    # A slow start, as of a job that queues: the page must be there before the notebook is.
    slow = installed.user.make(Path(installed.user.home) / "slow")
    real = next(installed.directory.glob(".venv/bin/jupyter"))
    for name in ("jupyter", "jupyter-lab"):
        (slow / name).write_text(f'#!/bin/sh\nsleep 6\nexec {real} "$@"\n')
        (slow / name).chmod(0o755)
    started = installed.rps(
        "start", "--no-wait", "--json", "--set", f"notebook.jupyter={slow}/jupyter"
    )
    found = json.loads(started.stdout)

    browser.get(found["url"])
    assert "JupyterLab" not in browser.title
    assert "notebook" in body(browser).lower()
    assert found["url"].partition("token=")[2] not in body(browser)
    picture(browser, "waiting")

    # By itself: nobody reloads.
    wait = WebDriverWait(
        browser,
        120,
        ignored_exceptions=(StaleElementReferenceException, WebDriverException),
    )
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, ".jp-LauncherCard"))
    assert browser.current_url.startswith(found["url"].partition("/?")[0] + "/lab")
    picture(browser, "jupyterlab")

    card = '.jp-LauncherCard[data-category="Notebook"]'
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, card))[0].click()
    idle = ".jp-Notebook-ExecutionIndicator[data-status=idle]"
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, idle))
    editor = ".jp-Notebook .jp-CodeCell .cm-content"
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, editor))[0].click()
    # On a slow machine JupyterLab moves the focus after it has drawn: what is typed before is lost.
    focused = ".jp-Notebook .jp-CodeCell .cm-focused"
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, focused))
    code = "import os; print(os.getuid(), 6 * 7)"
    ActionChains(browser).send_keys(code).perform()
    wait.until(lambda b: code in b.find_elements(By.CSS_SELECTOR, focused)[0].text)
    ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(Keys.SHIFT).perform()
    output = wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, ".jp-OutputArea-output pre"))
    assert output[0].text == f"{installed.user.uid} 42"
    picture(browser, "cell")

    installed.rps("stop", found["name"])
    browser.get(found["url"])
    assert "JupyterLab" not in browser.title
    assert "over" in body(browser).lower() or "ended" in body(browser).lower()
    picture(browser, "ended")


def test_a_name_that_was_never_issued(installed: Any, browser: Remote) -> None:
    started = json.loads(installed.rps("start", "--no-wait", "--json").stdout)
    unknown = started["url"].replace(started["name"], "never-issued-name")
    browser.get(unknown)
    assert "JupyterLab" not in browser.title
    assert "never-issued-name" not in body(browser)
    picture(browser, "unknown")


def test_the_certificate_is_good_for_its_own_domain_only(installed: Any, browser: Remote) -> None:
    """The other half of the proof: Chromium does check what it is shown."""
    started = json.loads(installed.rps("start", "--no-wait", "--json").stdout)
    port = started["url"].split(":")[2].partition("/")[0]
    browser.get(f"https://elsewhere.localhost:{port}/")
    assert browser.title == "Privacy error"
    assert "ERR_CERT_COMMON_NAME_INVALID" in browser.page_source
