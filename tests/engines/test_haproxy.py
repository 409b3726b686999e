"""HAProxy alone: the file of routes that it starts from, and its log."""

from __future__ import annotations

import grp
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines.stand import Stand, running
from tests.engines.test_killed import answers
from tests.stands.service import Notebook
from tests.stands.waiting import until


@pytest.fixture
def haproxy(tmp_path: Path, need: Callable[[str], str]) -> Iterator[Stand]:
    with running(tmp_path, "haproxy", need) as stand:
        yield stand


def logged(stand: Stand) -> list[str]:
    """Return the log lines about requests."""
    found = re.findall(
        r"^(\d+/\S+) \S+ (GET|HEAD|POST) \S+ (\S+) (.*)$", stand.engine_log(), re.MULTILINE
    )
    return [f"{method} {path} {kind} {why}" for kind, method, path, why in found]


def test_its_log_tells_what_does_not_answer_and_nothing_else(haproxy: Stand) -> None:
    waits = haproxy.issue()
    html = {"Accept": "text/html"}
    assert haproxy.request(waits.host, "GET", "/?token=x", headers=html).status == 503
    assert haproxy.request(f"no-such-name.rps.localhost:{haproxy.port}", "GET", "/").status == 404
    with haproxy.notebook() as (session, _):
        assert haproxy.request(session.host, "GET", "/").status == 200
        assert haproxy.request(session.host, "GET", "/hangup?token=x").status == 502
    assert haproxy.request(session.host, "GET", "/?token=x").status == 502
    haproxy.kill()
    assert haproxy.request(waits.host, "GET", "/?token=x").status == 503
    expected = [
        "GET /hangup 502/SH/notebooks -",
        "GET / 503/SC/notebooks -",
        "GET / 503/SC/service -",
    ]
    until(lambda: len(logged(haproxy)) >= len(expected), "it is logged")
    assert logged(haproxy) == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is a member of every group")
def test_what_was_for_an_engines_group_is_not_for_it_any_more(haproxy: Stand) -> None:
    """Test the files shared with the engine, also the front certificate's key."""
    with haproxy.notebook() as (session, _):
        for group in ("daemon", "null"):
            haproxy.stop()
            haproxy.kill_engine()
            haproxy.given["haproxy.group"] = haproxy._settings["haproxy.group"] = group
            haproxy.start()
            haproxy.start_engine()
            until(lambda: answers(haproxy, session, 200), "the route is back")
            gid = os.getegid() if group == "null" else grp.getgrnam(group).gr_gid
            routes = haproxy.meeting / "routes.map"
            until(lambda: routes.stat().st_gid == gid, "the file is the group's")  # noqa: B023
            for name in (
                ".",
                "front.pem",
                "haproxy.cfg",
                "service.sock",
                "run",
                "run/haproxy.sock",
            ):
                assert (haproxy.meeting / name).stat().st_gid == gid, name


def test_it_starts_alone_with_a_file_that_lags_behind(haproxy: Stand) -> None:
    """Test a power failure: the file lacks the last change, and the service is down."""
    routes = haproxy.meeting / "routes.map"
    with haproxy.notebook() as (revoked, notebook):
        until(lambda: revoked.name in routes.read_text(), "its route is in the file")
        before = routes.read_text()
        haproxy.revoke(revoked)
    added = haproxy.issue()
    certificate = haproxy.certificate(added)
    with Notebook(certificate, haproxy.directory, notebook.port) as behind_the_port:
        assert haproxy.redeem(added, notebook.port)[0] == 200
        haproxy.kill()
        haproxy.kill_engine()
        routes.write_text(before)
        haproxy.start_engine()
        assert answers(haproxy, revoked, 502)
        assert answers(haproxy, added, 503)
        assert behind_the_port.requests == []
        haproxy.start()
        until(lambda: answers(haproxy, added, 200), "the route is back")
        until(lambda: answers(haproxy, revoked, 410), "what was revoked is out")


def test_its_file_is_written_only_where_it_differs(haproxy: Stand) -> None:
    routes, first = haproxy.meeting / "routes.map", haproxy.directory / "first"
    with haproxy.notebook() as (session, _):
        until(lambda: session.name in routes.read_text(), "its route is in the file")
        first.hardlink_to(routes)  # so no other file is taken for it
        for _ in range(2):
            haproxy.stop()
            haproxy.start()
        haproxy.stop()
        assert routes.samefile(first)
        routes.write_text("")
        haproxy.start()
        until(lambda: session.name in routes.read_text(), "it is repaired")
        haproxy.kill()
        haproxy.kill_engine()
        haproxy.start_engine()
        assert answers(haproxy, session, 200)
