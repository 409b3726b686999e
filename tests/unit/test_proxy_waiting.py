"""The streams of pages that wait: who is told what, and when."""

from __future__ import annotations

from typing import Any

import pytest

from rps_proxy import waiting
from rps_proxy.group_commit import BusyError
from rps_proxy.standing import Standing
from rps_proxy.waiting import Waiting, _Stream


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: clock[0])  # type: ignore[attr-defined]
    return clock


def test_a_page_hears_what_is_new_and_each_while_that_there_is_nothing(now: list[float]) -> None:
    standings = {"a-b-c": Standing("pending"), "d-e-f": Standing("queued")}
    asked: list[str] = []

    def find(name: str) -> Standing:
        asked.append(name)
        return standings[name]

    pages = Waiting(find, 10, 10)
    one, two, other = _Stream(), _Stream(), _Stream()
    pages._streams = {"a-b-c": {one, two}, "d-e-f": {other}}

    def heard(stream: _Stream) -> bytes:
        text, stream.next = stream.next, b""
        return text

    pages.changed("a-b-c")
    assert b'"pending"' in heard(one)
    assert b'"pending"' in heard(two)
    assert heard(other) == b""
    assert asked == ["a-b-c"]  # once for both
    pages.changed("a-b-c")  # nothing that shows
    assert heard(one) == b""
    pages.changed("g-h-i")  # nobody looks
    assert asked == ["a-b-c"] * 2
    pages.beat()
    assert heard(one) == b""  # not yet
    now[0] += waiting.HEARTBEAT
    standings["a-b-c"] = Standing("ended")  # and nobody said so
    pages.beat()
    assert b'"ended"' in heard(one)
    assert b'"queued"' in heard(other)
    now[0] += waiting.HEARTBEAT
    pages.beat()
    assert heard(other) == b": \n\n"


def test_the_latest_counts_for_who_reads_slowly() -> None:
    stream = _Stream()
    for state in ("pending", "queued", "starting"):
        stream.say(Standing(state), state.encode(), beat=False)
    assert stream.next == b"starting"
    stream.say(Standing("starting"), b"again", beat=True)
    assert stream.next == b"starting"


def test_a_registry_that_cannot_be_read_fails_nobody() -> None:
    def find(_name: str) -> Any:
        raise BusyError("disk I/O error")

    pages = Waiting(find, 10, 10)
    pages._streams = {"a-b-c": {_Stream()}}
    pages.changed("a-b-c")
