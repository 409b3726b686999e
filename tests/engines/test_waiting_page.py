"""The events of a waiting page on any engine: each at once, none buffered."""

from __future__ import annotations

from typing import Any

from tests.engines.stand import Stand
from tests.stands.event_stream import EventStream
from tests.stands.service import Notebook


def test_events_come_one_by_one(stand: Stand) -> None:
    session = stand.issue()
    with EventStream(stand, session.host) as stream:
        assert stream.status == 200, stream.head
        assert "content-type: text/event-stream" in stream.head.lower()
        assert "default-src 'none'" in stream.head

        def hears() -> Any:
            event = stream.event()
            return event and event["phase"]

        assert hears() == "pending"
        path = f"sessions/{session.name}/job"
        report = {"state": "queued", "reason": "log in at https://evil.example"}
        assert stand.call("POST", path, session.claim, report)[0] == 200
        assert hears() == "queued"
        page = stand.request(session.host, "GET", "/", headers={"Accept": "text/html"}).body
        assert b"Your job is waiting in the queue." in page  # and nothing of those words
        assert b"evil" not in page
        with Notebook(stand.certificate(session), stand.directory) as notebook:
            assert hears() == "starting"
            assert stand.redeem(session, notebook.port)[0] == 200
            assert hears() == "ready"
            # The engine has the route before the page gets the event.
            assert stand.request(session.host, "GET", "/?token=x").status == 200
            assert stream.event() is None  # its end
