"""Where an application of a running session opens, and what is printed if there is none."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rps_core.errors import NotFoundError
from rps_core.node.agent.events import Events
from rps_core.sessions.applications import path_in
from rps_core.state.session_dir import SessionFiles
from tests.stands.record import RECORD


def files(*events: dict[str, Any], **apps: dict[str, Any]) -> Any:
    """Return the files of a session with these applications."""
    return SimpleNamespace(applications=lambda: apps, events=lambda: list(events))


def test_an_application_opens_below_its_name() -> None:
    assert path_in(RECORD, files(dask={"path": "status"}), "dask") == "app/dask/status"
    assert path_in(RECORD, files(), "notebook") == "tree"


@pytest.mark.parametrize(
    ("app", "hint"),
    [
        ("daks", "Did you mean `dask`? It has: lab, notebook, dask."),
        (
            "streamlit",
            "That one needs the application's file: rps start -s streamlit -- app.py. "
            "It has: lab, notebook, dask.",
        ),
    ],
)
def test_an_application_that_is_not_there_is_refused_with_what_to_do(app: str, hint: str) -> None:
    with pytest.raises(NotFoundError, match=f"has no application `{app}`") as caught:
        path_in(RECORD, files(dask={"path": ""}), app)
    assert caught.value.hint == hint


SEEN = {
    "event": "applications",
    "served": True,
    "missing": {"dask": "dask", "notebook": "notebook"},
}


def test_what_the_node_lacks_is_refused_with_how_to_install_it() -> None:
    found = files({**SEEN, "time": time.time()}, dask={"path": "", "install": "pip install dask"})
    with pytest.raises(NotFoundError) as caught:
        path_in(RECORD, found, "dask")
    assert caught.value.message == (
        f"{RECORD.name} cannot open dask: its node has no program `dask`"
    )
    assert caught.value.hint == "In a terminal of the session: pip install dask. It has: lab."
    with pytest.raises(NotFoundError, match="its Jupyter has no Python package `notebook`"):
        path_in(RECORD, found, "notebook")
    with pytest.raises(NotFoundError) as caught:
        path_in(RECORD, found, "no")
    assert caught.value.hint == "It has: lab."


def test_what_the_node_lacks_is_read_from_the_agents_events(tmp_path: Path) -> None:
    Events(str(tmp_path)).add("applications", served=True, missing={"dask": "dask"})
    (tmp_path / "launch.json").write_text('{"apps": {"dask": {"path": "", "bin": []}}}')
    with pytest.raises(NotFoundError, match="no program `dask`"):
        path_in(RECORD, SessionFiles(tmp_path), "dask")


@pytest.mark.parametrize("since", [True, False])
def test_what_was_installed_since_is_opened(tmp_path: Path, since: bool) -> None:
    """Only what is newer: a program of this host that the node lacks is no program of the node."""
    program = tmp_path / "dask"
    program.touch(0o700)
    seen = {**SEEN, "time": time.time() - 60 if since else time.time() + 60}
    found = files({**seen, "path": f"/usr/bin:{tmp_path}"}, dask={"path": ""})
    if since:
        assert path_in(RECORD, found, "dask") == "app/dask/"
    else:
        with pytest.raises(NotFoundError, match="no program `dask`"):
            path_in(RECORD, found, "dask")


def test_a_jupyter_without_the_proxy_is_refused() -> None:
    unserved = files({"event": "applications", "served": False}, dask={"path": ""})
    with pytest.raises(NotFoundError, match="no jupyter-server-proxy"):
        path_in(RECORD, unserved, "dask")
