"""The scheduler's output on success: on the terminal, in the record, in status."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rps_core.display.screen import Screen
from rps_core.display.session import print_session
from rps_core.sessions.session import SessionView
from rps_core.state.record import Secrets
from rps_core.state.store import Store
from tests.stands.record import RECORD

SAID = replace(
    RECORD, scheduler_words=["Your time was cut to 2:00:00.", "Maintenance\x1b[31m on Monday."]
)


def test_the_terminal_has_all_lines(capsys: pytest.CaptureFixture[str]) -> None:
    Screen(quiet=False).started(SAID, None)
    printed = capsys.readouterr().err
    assert (
        "slurm says:\n  Your time was cut to 2:00:00.\n  Maintenance [31m on Monday.\n" in printed
    )
    Screen(quiet=False).started(RECORD, None)
    assert "says" not in capsys.readouterr().err
    Screen(quiet=True).started(SAID, None)
    assert capsys.readouterr().err == ""


def test_the_record_and_the_status_keep_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    store.create(SAID, Secrets("claim", "token"))
    (record,) = store.records()
    assert record.scheduler_words == SAID.scheduler_words
    view = SessionView(record=record, state="pending", reason=None, url=None)
    print_session(view)
    assert "scheduler:   Your time was cut to 2:00:00. | Maintenance [31m on Monday.\n" in (
        capsys.readouterr().out
    )
    assert json.loads(json.dumps(view.as_json()))["scheduler_words"] == SAID.scheduler_words
