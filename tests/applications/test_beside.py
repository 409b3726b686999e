"""Applications beside a session's notebook (`rps url --app`), in Chromium; their rows in the document."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from selenium.webdriver import ActionChains, Remote

from tests.applications.pages import (
    MARIMO,
    VOILA,
    documented,
    inside,
    keep_file_fields,
    picture,
    shows,
    write,
)
from tests.stands.locked_environment import locked_environment
from tests.stands.waiting import until

Opened = Callable[[str], str]
SENT = 100_000  # bytes
LOG = """\
from tensorboard.summary import Writer
log = Writer("run")
for step in range(10):
    log.add_scalar("accuracy", step / 10, step)
log.close()
"""


@pytest.fixture(scope="module")
def session(installed: Any, on_the_path: str) -> Iterator[Path]:
    """One session for all: its directory. rps's own Jupyter serves an environment that has a kernel alone."""
    home, environment = Path(installed.user.home), str(locked_environment("applications"))
    project: Path = installed.user.make(home / "all $(touch x) 'é")
    write(installed.user, project / "nb.py", MARIMO)
    write(installed.user, project / "show.ipynb", VOILA)
    write(installed.user, project / "sent.bin", "x" * SENT)
    write(installed.user, installed.user.make(project / "below é") / "deep.txt", "")
    # What draws and runs beside the folder's files: a first page, the chat, Git.
    quiet = {
        "workbench.startupEditor": "none",
        "chat.disableAIFeatures": True,
        "git.enabled": False,
    }
    settings = home / ".local/share/code-server/User"
    installed.user.run(["mkdir", "-p", str(settings)], check=True)
    write(installed.user, settings / "settings.json", json.dumps(quiet))
    log = [f"{environment}/bin/python3", "-c", LOG]
    installed.user.run(log, cwd=project, check=True)
    # A third of MLflow's start is a process for jobs that nothing here submits.
    jobs = "apps.mlflow.environment.MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"
    words = ["start", "--wait", "--json", "-d", str(project), "--venv", environment, "--set", jobs]
    found = json.loads(installed.rps(*words, env={"PATH": on_the_path}).stdout)
    yield project
    installed.rps("stop", found["name"])


@pytest.fixture
def opened(installed: Any, browser: Remote, session: Path) -> Opened:
    """Open an application, and return its URL without the token."""
    del session

    def visit(app: str) -> str:
        url = str(installed.rps("url", "--app", app).stdout.strip())
        browser.get(url)
        base = url.partition("?")[0]
        assert browser.current_url.startswith(base)
        assert "token" not in browser.current_url
        return base

    return visit


def send(browser: Remote, session: Path) -> None:
    """Upload a file by the page's own field, and see its size there."""
    inside(browser, "input[type=file]").send_keys(str(session / "sent.bin"))
    shows(browser, f"got {SENT} bytes")


def run_stale_cells(browser: Remote) -> None:
    """Press marimo's button for all that is to be run: the last one, after those of the cells."""
    buttons = "return document.querySelectorAll('[data-testid=run-button]')"
    found = until(lambda: browser.execute_script(buttons), "the button")
    browser.execute_script("arguments[0].click()", found[-1])


def test_marimo(browser: Remote, opened: Opened, session: Path) -> None:
    base = opened("marimo")
    shows(browser, "nb.py")
    browser.get(f"{base}?file=nb.py")
    shows(browser, "marimo says")  # the source of its cell
    run_stale_cells(browser)
    shows(browser, "marimo says 42")  # what it printed came over the websocket
    inside(browser, "input[type=file]").send_keys(str(session / "sent.bin"))
    shows(browser, "Uploaded")
    run_stale_cells(browser)
    shows(browser, f"got {SENT} bytes")
    picture(browser, "marimo")
    assert documented("marimo") == ["yes", "yes", "yes"]


def test_tensorboard(browser: Remote, opened: Opened) -> None:
    base = opened("tensorboard")
    shows(browser, "accuracy")
    picture(browser, "tensorboard")
    browser.get("about:blank")  # else the page is there already
    browser.get(f"{base}#graphs")
    shows(browser, "Search nodes")
    assert documented("tensorboard") == ["not used", "none", "yes"]


def test_voila(browser: Remote, opened: Opened, session: Path) -> None:
    base = opened("voila")
    shows(browser, "Select items to open with Voilà")
    browser.get(f"{base}voila/render/show.ipynb?x=1")
    shows(browser, "voila says 42")
    inside(browser, "button.jupyter-button").click()
    shows(browser, "pressed in the kernel")  # over the websocket, there and back
    keep_file_fields(browser)
    inside(browser, "button[class*=upload]").click()
    send(browser, session)
    picture(browser, "voila")
    assert documented("voila") == ["yes", "yes", "yes"]


def test_no_other_user_can_read_what_a_kernel_of_voila_prints(session: Path) -> None:
    """Its kernels are reached by Unix sockets, in a directory that only the user can enter."""
    owner = session.stat().st_uid
    files = [
        file for file in Path("/tmp").glob("voila_*/kernel-*.json") if file.stat().st_uid == owner
    ]
    assert files
    assert {json.loads(file.read_text())["transport"] for file in files} == {"ipc"}
    assert {file.parent.stat().st_mode & 0o777 for file in files} == {0o700}


def test_dask(browser: Remote, opened: Opened) -> None:
    status = opened("dask")
    assert status.endswith("/app/dask/status")
    shows(browser, "Data Transfer")
    picture(browser, "dask")
    browser.get(status.removesuffix("status") + "workers")
    shows(browser, "tls://127.0.0.1:")  # the table's rows come over the websocket
    assert documented("dask") == ["yes", "none", "yes"]


def test_mlflow(browser: Remote, opened: Opened) -> None:
    base = opened("mlflow")
    shows(browser, "Experiments")
    made = browser.execute_async_script(
        """
        const done = arguments[0];
        fetch("ajax-api/2.0/mlflow/experiments/create", {
          method: "POST", headers: {"Content-Type": "application/json"}, body: '{"name": "seen here"}'
        }).then((answer) => answer.json()).then(done);
        """
    )
    assert re.fullmatch("[0-9]+", made["experiment_id"])
    browser.get(f"{base}#/experiments")
    shows(browser, "seen here")
    picture(browser, "mlflow")
    assert documented("mlflow") == ["not used", "not tested", "yes"]


def test_vscode(browser: Remote, opened: Opened, session: Path) -> None:
    base = opened("vscode")
    shows(browser, "show.ipynb")  # the folder's files, over the websocket
    picture(browser, "vscode")
    browser.get(f"{base}?folder={quote(str(session / 'below é'))}")
    shows(browser, "deep.txt")
    keep_file_fields(browser)
    ActionChains(browser).context_click(
        inside(browser, ".explorer-folders-view .monaco-list")
    ).perform()
    entry = inside(browser, ".action-label[aria-label='Upload...']")
    ActionChains(browser).move_to_element(entry).click().perform()
    inside(browser, "body > input[type=file]").send_keys(str(session / "sent.bin"))
    sent = session / "below é" / "sent.bin"
    until(lambda: sent.exists() and sent.stat().st_size == SENT, "the upload")
    assert documented("vscode") == ["yes", "yes", "yes"]


def test_rstudios_stand_in(installed: Any, browser: Remote, opened: Opened, session: Path) -> None:
    base = opened("rstudio")
    shows(
        browser, f"session of {installed.user.name}"
    )  # after its sign-in, and a call with its token
    shows(browser, "[1] 2")  # the answer of its terminal, over the websocket
    send(browser, session)
    browser.get(f"{base}files/a%20b")
    shows(browser, "the file a b")
    cookies = {one["name"]: one for one in browser.get_cookies()}
    assert cookies["user-id"]["path"] == "/app/rstudio/"
    assert cookies["user-id"]["secure"]
    assert documented("rstudio") == ["yes", "yes", "yes"]


def test_jupyters_own(browser: Remote, opened: Opened) -> None:
    for app in ("notebook", "lab"):
        opened(app)
        shows(browser, "nb.py")
        picture(browser, app)


def test_an_application_that_the_session_does_not_have(installed: Any, session: Path) -> None:
    del session
    done = installed.rps("url", "--app", "tensorbord", check=False)
    assert done.returncode == 7
    assert "has no application `tensorbord`" in done.stderr
    assert "tensorboard" in done.stderr
