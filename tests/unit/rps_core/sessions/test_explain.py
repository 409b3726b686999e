"""The commands that `rps why` runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from rps_core.cluster import find
from rps_core.diagnosis.causes import WAITING
from rps_core.protocol import Cause
from rps_core.sessions.application import Application
from rps_core.sessions.explain import Explanation, explain
from rps_core.sessions.session import SessionView
from rps_core.state.record import Secrets
from rps_core.state.store import Store
from rps_core.system import paths
from rps_core.testing import TIMEOUT, Answer, Reply, every_command
from tests.stands.record import RECORD


@pytest.mark.parametrize(
    ("reply", "programs"),
    [(TIMEOUT, ["squeue"]), (Answer(), ["squeue", "sacct", "squeue", "scontrol", "sacct"])],
)
def test_a_scheduler_that_did_not_answer_is_not_asked_again(
    reply: Reply, programs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen server holds each command until its time is over."""
    store = Store(paths.sessions_dir())
    store.probe()
    store.create(RECORD, Secrets("c" * 40, "t" * 32))
    shell = every_command(reply)
    monkeypatch.setattr(Application, "here", cast("Any", replace(find("comet"), shell=shell)))
    monkeypatch.setattr("rps_core.sessions.status._ask_service", lambda *_: (None, None))
    found = explain(Application(), None)
    assert [call[0] for call in shell.calls] == programs
    silent = any("did not answer" in one.line for one in found.evidence)
    assert silent is (reply is TIMEOUT)


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("SomethingNew", "The scheduler gives a reason that rps does not know: SomethingNew."),
        (None, "The scheduler gives no reason."),
    ],
)
def test_an_unknown_reason_is_quoted_and_never_denied(reason: str | None, sentence: str) -> None:
    view = SessionView(record=RECORD, state="pending", reason=reason, raw_reason=reason, url=None)
    found = Explanation(view, Cause.WAITING, ())
    assert found.sentence == f"The job is waiting in the queue. {sentence}"
    assert Explanation(view, Cause.PRIORITY, ()).sentence == WAITING[Cause.PRIORITY].sentence
