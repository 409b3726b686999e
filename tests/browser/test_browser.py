"""Chromium, as the ordinary user, through the real service to a real JupyterLab.

It trusts the local CA as a user makes it trusted (certutil); certificate errors are not switched off.
Pictures of what it saw are kept in `artefacts/`.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import (
    StaleElementReferenceException,
)
from selenium.webdriver import Remote
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser.notebook import run_a_cell, type_into_the_first_cell
from tests.stands.agent import Squeue, job_of

ARTEFACTS = Path(__file__).resolve().parent.parent.parent / "artefacts"


@pytest.fixture
def browser(installed: Any, chromium_of_rps: Remote) -> Iterator[Remote]:
    """Lend the Chromium that trusts the CA; every session ends with the test."""
    yield chromium_of_rps
    installed.rps("stop", "--all")


def picture(browser: Remote, name: str) -> None:
    ARTEFACTS.mkdir(exist_ok=True)
    assert browser.save_screenshot(str(ARTEFACTS / f"{name}.png"))


def body(browser: Remote) -> str:
    return browser.find_element(By.TAG_NAME, "body").text


def test_from_the_waiting_page_to_a_cell_that_ran(installed: Any, browser: Remote) -> None:
    # A slow start, as of a job that queues: the page is there before the notebook is.
    slow = installed.user.make(Path(installed.user.home) / "slow")
    real = next(installed.directory.glob(".venv/bin/jupyter"))
    seen = slow / "seen"
    for name in ("jupyter", "jupyter-lab"):
        (slow / name).write_text(
            f'#!/bin/sh\nuntil [ -e {seen} ]; do sleep 0.2; done\nexec {real} "$@"\n'
        )
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
    seen.touch()

    # Without a reload.
    output = run_a_cell(
        browser,
        "import os; print(os.getuid(), 6 * 7)",
        once_there=lambda: picture(browser, "jupyterlab"),
    )
    assert browser.current_url.startswith(found["url"].partition("/?")[0] + "/lab")
    assert output == f"{installed.user.uid} 42"
    picture(browser, "cell")

    installed.rps("stop", found["name"])
    browser.get(found["url"])
    assert "JupyterLab" not in browser.title
    assert "over" in body(browser).lower() or "ended" in body(browser).lower()
    picture(browser, "ended")


def toasts(browser: Remote) -> str:
    return " ".join(e.text for e in browser.find_elements(By.CSS_SELECTOR, ".Toastify__toast"))


def test_the_last_minutes_in_jupyterlab_and_in_notebook(installed: Any, browser: Remote) -> None:
    """Test two tabs, one in the background: both show the time left and are saved.

    The test sends the signal at the walltime limit in Slurm's place.
    """
    home = Path(installed.user.home)
    notebook = {
        "cells": [{"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "source": "",
                   "execution_count": None}],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "nbformat": 4, "nbformat_minor": 5,
    }  # fmt: skip
    directory = installed.user.make(home / "last-minutes")
    for name in ("First.ipynb", "Second.ipynb"):
        (directory / name).write_text(json.dumps(notebook))
        os.chown(directory / name, installed.user.uid, installed.user.gid)
    squeue = Squeue(installed.user.make(home / "scheduler"))
    prologue = home / "scheduler" / "prologue.sh"
    job = json.dumps(job_of("slurm"))
    # In place of what the local scheduler's plugin says of its jobs.
    prologue.write_text(
        f"export PATH={prologue.parent}:{installed.directory}/.venv/bin:$PATH SLURM_JOB_ID=99\n"
        f"job='{job}' python3 - \"$RPS_SESSION/launch.json\" <<'END'\n"
        "import json, os, pathlib, sys\n"
        "file = pathlib.Path(sys.argv[1])\n"
        "launch = json.loads(file.read_text())\n"
        "file.write_text(json.dumps({**launch, 'job': json.loads(os.environ['job'])}))\n"
        "END\n"
    )
    started = installed.rps(
        "start", "--wait", "--json", "-t", "10", "-d", str(directory), "--prologue", str(prologue),
        "--set", "notebook.shutdown_before=20",
    )  # fmt: skip
    found = json.loads(started.stdout)
    state = home / ".local/state/rps/sessions" / found["name"] / "events.jsonl"

    def event(name: str) -> Any:
        lines = [json.loads(line) for line in state.read_text().splitlines()]
        return next((line for line in lines if line["event"] == name), None)

    wait = WebDriverWait(browser, 60, ignored_exceptions=(StaleElementReferenceException,))
    base, _, token = found["url"].partition("?")
    browser.get(f"{base}lab/tree/First.ipynb?{token}")
    type_into_the_first_cell(browser, wait, "in_lab = 1")
    lab = browser.current_window_handle
    browser.switch_to.new_window("tab")
    browser.get(f"{base}notebooks/Second.ipynb")
    type_into_the_first_cell(browser, wait, "in_notebook = 2")
    squeue.answers("0:40")
    os.kill(event("started")["pid"], signal.SIGUSR1)
    for tab, name in ((browser.current_window_handle, "notebook"), (lab, "jupyterlab")):
        browser.switch_to.window(tab)
        wait.until(lambda b: "The time of this session is up at" in toasts(b))
        picture(browser, f"time-left-{name}")
    assert "in_lab" not in (directory / "First.ipynb").read_text()
    assert "in_notebook" not in (directory / "Second.ipynb").read_text()

    squeue.answers("0:19")
    wait.until(lambda b: event("ended"))
    picture(browser, "time-limit")
    assert event("ended")["cause"] == "time-limit"
    assert [event("saved")[key] for key in ("tabs", "saved", "left")] == [2, 2, []]
    for name, text in (("First.ipynb", "in_lab = 1"), ("Second.ipynb", "in_notebook = 2")):
        cell = json.loads((directory / name).read_text())["cells"][0]
        assert "".join(cell["source"]) == text
    shown = json.loads(installed.rps("status", found["name"], "--json").stdout)
    assert (shown["state"], shown["cause"]) == ("ended", "time-limit")


def test_a_name_that_was_never_issued(chromium_of_rps: Remote, over: dict[str, Any]) -> None:
    browser = chromium_of_rps
    unknown = over["url"].replace(over["name"], "never-issued-name")
    browser.get(unknown)
    assert "JupyterLab" not in browser.title
    assert "never-issued-name" not in body(browser)
    picture(browser, "unknown")


def test_the_certificate_is_good_for_its_own_domain_only(
    chromium_of_rps: Remote, over: dict[str, Any]
) -> None:
    """The other half of the proof: Chromium does check what it is shown."""
    browser = chromium_of_rps
    port = over["url"].split(":")[2].partition("/")[0]
    browser.get(f"https://elsewhere.localhost:{port}/")
    assert browser.title == "Privacy error"
    assert "ERR_CERT_COMMON_NAME_INVALID" in browser.page_source
