"""Where an application of a running session opens, and what is printed if there is none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rps_core.errors import NotFoundError
from rps_core.sessions.applications import path_in
from tests.stands.record import RECORD


def files(*events: dict[str, Any], **apps: dict[str, str]) -> Any:
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


def test_a_jupyter_without_the_proxy_is_refused() -> None:
    unserved = files({"event": "applications", "served": False}, dask={"path": ""})
    with pytest.raises(NotFoundError, match="no jupyter-server-proxy"):
        path_in(RECORD, unserved, "dask")
