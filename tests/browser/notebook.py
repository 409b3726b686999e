"""Run a cell in JupyterLab, by mouse and keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from selenium.common.exceptions import (
    StaleElementReferenceException,
    TimeoutException,
    WebDriverException,
)
from selenium.webdriver import Remote
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait


def run_a_cell(browser: Remote, text: str, once_there: Callable[[], object] = lambda: None) -> str:
    """Wait for JupyterLab, open a notebook, run `text` in its first cell; return the output.

    `once_there` is called when JupyterLab is there.
    """
    wait = WebDriverWait(
        browser,
        120,
        ignored_exceptions=(StaleElementReferenceException, WebDriverException),
    )
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, ".jp-LauncherCard"))
    once_there()
    card = '.jp-LauncherCard[data-category="Notebook"]'
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, card))[0].click()
    idle = ".jp-Notebook-ExecutionIndicator[data-status=idle]"
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, idle))
    type_into_the_first_cell(browser, wait, text)
    try:
        output = wait.until(lambda _: output_of_the_first_cell(browser))
    except TimeoutException:
        page = browser.find_element(By.TAG_NAME, "body").text
        raise AssertionError(f"no output; the page: {page}") from None
    return str(output[0].text)


def output_of_the_first_cell(browser: Remote) -> list[Any]:
    """Run the first cell unless it runs or did, and return its output, empty until there is one.

    The keys are lost where JupyterLab moves the focus between the click and them.
    """
    output = browser.find_elements(By.CSS_SELECTOR, ".jp-OutputArea-output pre")
    prompt = browser.find_element(By.CSS_SELECTOR, ".jp-Notebook .jp-InputPrompt").text
    if not output and prompt.strip() in ("[ ]:", "[]:"):
        browser.find_element(By.CSS_SELECTOR, ".jp-Notebook .jp-CodeCell .cm-content").click()
        keys = ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.ENTER)
        keys.key_up(Keys.SHIFT).perform()
    return output


def type_into_the_first_cell(browser: Remote, wait: WebDriverWait[Any], text: str) -> None:
    """Replace the text of the first cell.

    On a slow machine JupyterLab moves the focus after it has drawn, and what was typed before is lost, in
    whole or in part: then type it again.
    """
    editor = ".jp-Notebook .jp-CodeCell .cm-content"
    focused = ".jp-Notebook .jp-CodeCell .cm-focused"

    def typed(_: object) -> bool:
        try:
            browser.find_element(By.CSS_SELECTOR, editor).click()
            if not browser.find_elements(By.CSS_SELECTOR, focused):
                return False
            keys = ActionChains(browser).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL)
            keys.send_keys(text).perform()
            return browser.find_element(By.CSS_SELECTOR, editor).text.strip() == text
        except WebDriverException:  # not on the screen yet, or drawn again
            return False

    wait.until(typed)
