"""Which session is gone on with."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rps_core.connect import choice
from rps_core.connect.answers import RemoteSession
from rps_core.errors import NotFoundError


def session(name: str, state: str = "ready") -> RemoteSession:
    fields = {
        "label": f"label-of-{name}",
        "cause": state,
        "app": "lab",
        "directory": "/home/a",
        "node": None,
        "time_left": 60,
    }
    return RemoteSession(name, state, "https://a.edu/", None, fields)


OLD, NEW, ENDED = session("a-b-old"), session("a-b-new"), session("a-b-ended", "ended")


def choose(listed: Sequence[RemoteSession], name: str | None = None) -> RemoteSession | None:
    return choice.choose(listed, "comet", name=name, ask=None)


def test_the_only_one_is_taken_without_a_question() -> None:
    def ask(_: Sequence[RemoteSession]) -> RemoteSession | None:
        raise AssertionError("asked")

    assert choice.choose([ENDED, OLD], "comet", name=None, ask=ask) is OLD
    assert choose([OLD, ENDED]) is OLD


def test_of_several_the_newest_is_taken_where_no_question_can_be_asked() -> None:
    assert choose([OLD, NEW]) is NEW
    assert choice.choose([OLD, NEW], "comet", name=None, ask=lambda living: living[0]) is OLD
    assert choice.choose([OLD, NEW], "comet", name=None, ask=lambda _: None) is None


def test_none_lives() -> None:
    assert choose([]) is None
    assert choose([ENDED]) is None


def test_a_name_or_a_unique_prefix() -> None:
    assert choose([OLD, NEW], "a-b-o") is OLD
    assert choose([session("a-b"), OLD], "a-b") == session("a-b")
    assert choose([OLD, NEW], "label-of-a-b-new") is NEW
    for name in ("a-b", "x", "a-b-ended"):
        with pytest.raises(NotFoundError, match="--list"):
            choose([OLD, NEW, ENDED], name)


def test_a_line_describes_it() -> None:
    assert choice.line(OLD) == "a-b-old (label-of-a-b-old): ready, lab, /home/a, 60 s left"
