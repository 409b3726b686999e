"""Event streams of waiting pages: which event goes to which page, and when."""

from __future__ import annotations

from typing import Any

import pytest

from rps_proxy.pages import events as waiting
from rps_proxy.pages.catalogue import Catalogue
from rps_proxy.pages.events import Waiting, _Stream
from rps_proxy.pages.state import PageState
from rps_proxy.refusals import BusyError

EN = Catalogue().language("en")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: clock[0])  # type: ignore[attr-defined]
    return clock


def test_a_page_hears_what_is_new_and_each_while_that_there_is_nothing(now: list[float]) -> None:
    standings = {"a-b-c": PageState("pending"), "d-e-f": PageState("queued")}
    asked: list[str] = []

    def find(name: str) -> PageState:
        asked.append(name)
        return standings[name]

    pages = Waiting(find, 10, 10, Catalogue())
    one, two, other = _Stream(EN), _Stream(EN), _Stream(EN)
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
    pages.changed("g-h-i")  # no visitor
    assert asked == ["a-b-c"] * 2
    pages.beat()
    assert heard(one) == b""  # not yet
    now[0] += waiting.HEARTBEAT
    standings["a-b-c"] = PageState("ended")  # without a call of `changed`
    pages.beat()
    assert b'"ended"' in heard(one)
    assert b'"queued"' in heard(other)
    now[0] += waiting.HEARTBEAT
    pages.beat()
    assert heard(other) == b": \n\n"


def test_the_latest_counts_for_who_reads_slowly() -> None:
    stream = _Stream(EN)
    for state in ("pending", "queued", "starting"):
        stream.offer(PageState(state), state.encode(), beat=False)
    assert stream.next == b"starting"
    stream.offer(PageState("starting"), b"again", beat=True)
    assert stream.next == b"starting"


def test_a_registry_that_cannot_be_read_fails_no_request() -> None:
    def find(_name: str) -> Any:
        raise BusyError("disk I/O error")

    pages = Waiting(find, 10, 10, Catalogue())
    pages._streams = {"a-b-c": {_Stream(EN)}}
    pages.changed("a-b-c")
