"""`rps start` from the URL on: an interrupt names the session."""

from __future__ import annotations

import io
import os
import signal
import sys
from importlib.abc import MetaPathFinder
from types import SimpleNamespace
from typing import Any

import pytest

from rps_core.cli.commands import start as command
from rps_core.errors import InterruptedByUserError, UsageError
from rps_core.launch import plan, start
from rps_core.state.store import Store
from rps_core.system import paths
from tests.stands.record import RECORD

FOLLOWING = "rps_core.display.following"


class InterruptingFinder(MetaPathFinder):
    """Sends Ctrl-C to this process when the module that follows a session is loaded."""

    asked = False

    def find_spec(self, name: str, *_: object) -> None:
        if name == FOLLOWING:
            self.asked = True
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_while_the_view_is_loaded_names_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = InterruptingFinder()
    monkeypatch.setattr(
        plan,
        "plan",
        lambda *_, **__: SimpleNamespace(
            changes=(), account_note=None, environment=SimpleNamespace(order=None)
        ),
    )
    monkeypatch.setattr(start, "start", lambda *_: RECORD)
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    monkeypatch.delitem(sys.modules, FOLLOWING, raising=False)
    monkeypatch.delattr("rps_core.display.following", raising=False)
    here: Any = SimpleNamespace(note="", unused_variables=list)
    options: dict[str, Any] = {
        "dry_run": False,
        "wait": True,
        "info": False,
        "quiet": True,
        "as_json": False,
    }
    interrupted: BaseException | None = None
    try:
        command._start(here, Store(paths.sessions_dir()), **options)
    except (InterruptedByUserError, KeyboardInterrupt) as error:
        interrupted = error
    assert finder.asked
    assert isinstance(interrupted, InterruptedByUserError)
    assert f"rps stop {RECORD.name}" in str(interrupted)


class FullStream(io.StringIO):
    """A standard output whose disk is full."""

    def write(self, text: str) -> int:
        del text
        raise OSError(28, "No space left on device")


def test_a_url_that_cannot_be_printed_leaves_a_session_that_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        plan,
        "plan",
        lambda *_, **__: SimpleNamespace(
            changes=(), account_note=None, environment=SimpleNamespace(order=None)
        ),
    )
    monkeypatch.setattr(start, "start", lambda *_: RECORD)
    monkeypatch.setattr(sys, "stdout", FullStream())
    here: Any = SimpleNamespace(note="", unused_variables=list)
    options: dict[str, Any] = {"dry_run": False, "wait": False, "info": False, "quiet": True}
    for as_json in (False, True):
        with pytest.raises(UsageError) as failed:
            command._start(here, Store(paths.sessions_dir()), as_json=as_json, **options)
        assert failed.value.message == "Cannot print the URL: No space left on device"
        assert f"`rps stop {RECORD.name}`" in failed.value.hint
