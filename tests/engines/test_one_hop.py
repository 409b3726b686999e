"""Fields of one connection are not forwarded.

A request is for the host that it names.
"""

from __future__ import annotations

import re
from itertools import chain

import pytest

from tests.engines.http2 import END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Client, block
from tests.engines.stand import Carried
from tests.stands.service import DOMAIN, upgrade_request

SECOND_FIELDS = [
    "Connection: X-Private, keep-alive",
    "Connection: X-Private\r\nConnection: close",
    "Connection: , X-Private,",
]


@pytest.mark.parametrize("second", SECOND_FIELDS)
@pytest.mark.parametrize("first", ["Upgrade", "keep-alive, Upgrade", "upgrade"])
def test_no_second_connection_field_hides_behind_an_upgrade(
    carried: Carried, first: str, second: str
) -> None:
    stand, session, notebook = carried
    request = upgrade_request(session.host, Connection=first, Origin=f"https://{session.host}")
    private = f"\r\n{second}\r\nX-Private: 1\r\nKeep-Alive: timeout=1\r\n\r\n"
    before = len(notebook.heads)
    stand.send(session.host, request[:-4] + private.encode(), patience=0.5)
    assert len(notebook.heads) == before + 1
    names = [name.lower() for name, _ in notebook.heads[-1]]
    assert not {"x-private", "keep-alive"} & set(names)
    values = [value for name, value in notebook.heads[-1] if name.lower() == "connection"]
    assert [value.lower() for value in values] == ["upgrade"]


@pytest.mark.parametrize("second", SECOND_FIELDS)
def test_no_second_connection_field_of_an_answer_hides_behind_an_upgrade(
    carried: Carried, second: str
) -> None:
    stand, session, _ = carried
    answer = (
        f"HTTP/1.1 200 OK\r\nConnection: upgrade\r\n{second}\r\nX-Private: 1\r\n"
        "Keep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n"
    )
    came = stand.request(session.host, "GET", "/raw", headers={"X-Answer": answer.encode().hex()})
    assert came.status == 200
    assert came.headers["X-Private"] is None
    assert "timeout=1" not in (came.headers["Keep-Alive"] or "")


@pytest.mark.parametrize("other", ["h2c", "websocket", "TLS/1.0"])
def test_one_protocol_is_asked_for(carried: Carried, other: str) -> None:
    stand, session, notebook = carried
    before = len(notebook.requests)
    for request in (
        upgrade_request(session.host)[:-4] + f"\r\nUpgrade: {other}\r\n\r\n".encode(),
        upgrade_request(session.host, Upgrade=f"websocket, {other}"),
        upgrade_request(session.host, Upgrade=f"{other}, websocket"),
    ):
        answer = stand.send(session.host, request, patience=0.5)
        assert not answer.startswith(b"HTTP/1.1 101 ")
        switched = [head for head in notebook.heads[before:] if "Upgrade" in dict(head)]
        assert switched == []


# Pseudo-header fields of a request for `{host}`, and what its notebook may be asked for.
PSEUDO = {
    "a usual one": ({}, "GET /a HTTP/1.1"),
    "scheme javascript": ({":scheme": "javascript"}, None),
    "scheme http": ({":scheme": "http"}, None),
    "scheme file": ({":scheme": "file"}, None),
    "empty scheme": ({":scheme": ""}, None),
    "scheme with a space": ({":scheme": "https /x HTTP/1.1"}, None),
    "scheme with a path": ({":scheme": "https://evil.example/?"}, None),
    "scheme in capitals": ({":scheme": "HTTPS"}, None),
    "no slash": ({":path": "a"}, None),
    "empty path": ({":path": ""}, None),
    "asterisk": ({":path": "*"}, None),
    "asterisk, OPTIONS": ({":path": "*", ":method": "OPTIONS"}, None),
    "absolute path": ({":path": "https://evil.example/a"}, None),
    "two slashes": ({":path": "//evil.example/a"}, "GET //evil.example/a HTTP/1.1"),
    "space in the path": ({":path": "/a HTTP/1.1"}, None),
    "userinfo": ({":authority": "user@{host}"}, None),
    "path in the authority": ({":authority": "{host}/x"}, None),
    "empty authority": ({":authority": ""}, None),
    # RFC 9113, 8.3.1: beside `:authority` a Host field counts for nothing.
    "another host": ({"host": f"other.{DOMAIN}"}, "GET /a HTTP/1.1"),
    "another authority": ({":authority": f"other.{DOMAIN}", "host": "{host}"}, None),
    "CONNECT": ({":method": "CONNECT"}, None),
    "CONNECT of a protocol": ({":method": "CONNECT", ":protocol": "connect-udp"}, None),
    "protocol of a GET": ({":protocol": "websocket"}, None),
    "status": ({":status": "200"}, None),
}
# Taken for a usual request.
TAKEN = {"haproxy": {"protocol of a GET"}, "apache": {"scheme http", "scheme in capitals"}}
# Answered by the engine itself, with an empty 200.
ANSWERED = {"haproxy": set(), "apache": {"asterisk, OPTIONS"}}


# The embedded engine offers no HTTP/2.
@pytest.mark.parametrize("carried", ["haproxy", "apache"], indirect=True)
@pytest.mark.parametrize("case", PSEUDO)
def test_pseudo_header_fields_make_no_other_request(carried: Carried, case: str) -> None:
    stand, session, notebook = carried
    fields, expected = PSEUDO[case]
    if case in TAKEN[stand.kind]:
        expected = PSEUDO["a usual one"][1]
    head = {":method": "GET", ":scheme": "https", ":authority": session.host, ":path": "/a"}
    head |= {name: value.format(host=session.host) for name, value in fields.items()}
    before, heads = len(notebook.requests), len(notebook.heads)
    with Client(stand, session.host) as client:
        client.send(HEADERS, END_HEADERS | END_STREAM, block(head))
        client.connection.settimeout(10)
        status = None
        try:
            for frame in client.frames():
                if frame.kind == HEADERS:
                    status = frame.content[:1]
                if frame.stream == 1 and frame.kind in (HEADERS, RST_STREAM):
                    break
        except AssertionError:  # the connection has ended
            pass
    assert notebook.requests[before:] == ([expected] if expected else [])
    assert (status == b"\x88") == (expected is not None or case in ANSWERED[stand.kind])
    for name, value in chain.from_iterable(notebook.heads[heads:]):
        assert not re.match("(?i)host$", name) or value == session.host
        assert not re.match("(?i)upgrade$", name)
