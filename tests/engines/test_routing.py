"""Who answers, whatever the engine: the notebook, a page of ours, or the API."""

from __future__ import annotations

import pytest

from tests.engines.stand import Stand
from tests.faults.service_stand import (
    DOMAIN,
    Notebook,
    read_exactly,
    read_head,
    until,
    upgrade_request,
)


def test_a_name_leads_to_its_notebook(stand: Stand) -> None:
    with stand.notebook() as (first, one), stand.notebook() as (second, two):
        assert stand.request(first.host, "GET", "/a?token=x").status == 200
        assert stand.request(second.host.upper(), "GET", "/b").status == 200
        assert one.requests == ["GET /a?token=x HTTP/1.1"]
        assert two.requests == ["GET /b HTTP/1.1"]


def test_names_without_a_route_get_our_pages(stand: Stand) -> None:
    port = stand.port
    waiting = stand.issue()
    assert stand.request(waiting.host, "GET", "/").status == 503
    assert stand.request(f"no-such-name.{DOMAIN}:{port}", "GET", "/").status == 404
    assert stand.request(f"manage.{DOMAIN}:{port}", "GET", "/nothing").status == 404
    with stand.notebook() as (session, notebook):
        answer = stand.request(session.host, "GET", "/.rps/state")
        assert answer.json() == {"phase": "ready"}
        assert stand.request(f"{session.name}.{DOMAIN}:1", "GET", "/").status == 421
        assert not notebook.requests


def test_a_notebook_that_does_not_answer(stand: Stand) -> None:
    with stand.notebook() as (session, _):
        pass
    answer = stand.request(session.host, "GET", "/", headers={"Accept": "text/html"})
    assert answer.status == 502
    assert b"notebook" in answer.body.lower()
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_next_user_of_the_port_is_never_reached(stand: Stand) -> None:
    with stand.notebook() as (session, notebook):
        for _ in range(3):  # connections that may be kept
            assert stand.request(session.host, "GET", "/").status == 200
    other = stand.issue()
    with Notebook(stand.certificate(other), stand.directory, notebook.port) as foreign:
        for _ in range(3):
            assert stand.request(session.host, "GET", "/").status == 502
        assert not foreign.requests
        assert stand.redeem(other, foreign.port)[0] == 200
        for _ in range(3):
            assert stand.request(other.host, "GET", "/mine").status == 200
            assert stand.request(session.host, "GET", "/").status == 502
        assert set(foreign.requests) == {"GET /mine HTTP/1.1"}


def test_websockets_go_both_ways_and_end_with_their_session_alone(stand: Stand) -> None:
    with stand.notebook() as (session, notebook), stand.notebook() as (other, _):
        mine, theirs = stand.connect(session.host), stand.connect(other.host)
        with mine, theirs:
            for connection, host in ((mine, session.host), (theirs, other.host)):
                connection.sendall(upgrade_request(host, Origin=f"https://{host}"))
                assert " 101 " in read_head(connection)
                connection.sendall(bytes.fromhex("818100000000") + b"x")
                assert read_exactly(connection, 7)[-1:] == b"x"  # as it was sent: masked with zeros
            stand.revoke(session)
            assert notebook.broken_off.wait(20)
            theirs.sendall(bytes.fromhex("818100000000") + b"y")
            assert read_exactly(theirs, 7)[-1:] == b"y"
        until(lambda: stand.request(session.host, "GET", "/").status == 410, "the route is out")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://{host}"])
def test_a_page_of_another_origin_opens_no_websocket(stand: Stand, origin: str) -> None:
    with stand.notebook() as (session, notebook):
        request = upgrade_request(session.host, Origin=origin.format(host=session.host))
        assert b" 403 " in stand.send(session.host, request).partition(b"\r\n")[0]
        assert not notebook.requests


def test_heads_say_what_we_say(stand: Stand) -> None:
    forged = {
        "X-Forwarded-For": "9.9.9.9",
        "X-Forwarded-Prefix": "/x",
        "X-Real-IP": "9.9.9.9",
        "X-Rps-Caller": "9.9.9.9",
        "Proxy-Authorization": "x",
    }
    with stand.notebook() as (session, _):
        answer = stand.request(session.host, "GET", "/", headers=forged, source="127.0.0.7")
        told = [(name.lower(), value) for name, value in answer.json()["headers"]]
        assert ("x-forwarded-for", "127.0.0.7") in told
        assert ("x-forwarded-host", session.host) in told
        assert "9.9.9.9" not in str(told)
        assert not {"x-forwarded-prefix", "proxy-authorization"} & {name for name, _ in told}
        cookies = answer.headers.get_all("Set-Cookie")
        assert cookies is not None
        assert len(cookies) == 2
        assert "domain" not in str(cookies).lower()
        assert answer.headers["Alt-Svc"] is None


def test_the_api_hears_the_callers_address(stand: Stand) -> None:
    session = stand.issue()
    with Notebook(stand.certificate(session), stand.directory) as notebook:
        # A route leads to the caller's address: nothing listens at that one.
        assert stand.redeem(session, notebook.port, source="127.0.0.9")[0] == 200
        assert stand.request(session.host, "GET", "/").status == 502
        assert not notebook.requests
        assert '"address": "127.0.0.9"' in stand.log()


def test_uploads_pass_through(stand: Stand) -> None:
    body = b"0123456789abcdef" * (1 << 20)
    with stand.notebook() as (session, _):
        assert stand.request(session.host, "POST", "/count", body).json()["length"] == len(body)
