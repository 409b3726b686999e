"""Requests that could be read in two ways: refused, or passed on as one clean request."""

from __future__ import annotations

import re

import pytest

from tests.engines.stand import Stand

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: HOST\r\n\r\n"
CORPUS = {
    "length and chunks": b"POST /a HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two lengths": b"POST /a HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nContent-Length: 37\r\n\r\n"
    + HIDDEN,
    "a signed length": b"POST /a HTTP/1.1\r\nHost: HOST\r\nContent-Length: +0\r\n\r\n" + HIDDEN,
    "a folded field": b"POST /a HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding:\r\n chunked\r\n\r\n"
    b"0\r\n\r\n" + HIDDEN,
    "a bad chunk": b"POST /a HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"0x1\r\nx\r\n0\r\n\r\n" + HIDDEN,
    "an unknown coding": b"POST /a HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: xchunked\r\n\r\n"
    b"0\r\n\r\n" + HIDDEN,
    "two hosts": b"GET /a HTTP/1.1\r\nHost: HOST\r\nHost: other.rps.localhost\r\n\r\n",
    "no host": b"GET /a HTTP/1.1\r\n\r\n",
    "another host in the target": b"GET https://other.rps.localhost/a HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "a NUL in a field": b"GET /a HTTP/1.1\r\nHost: HOST\r\nX: a\0b\r\n\r\n",
    "a bare CR in a field": b"GET /a HTTP/1.1\r\nHost: HOST\r\nX: a\rY: b\r\n\r\n",
    "a space before the colon": b"POST /a HTTP/1.1\r\nHost: HOST\r\nContent-Length : 37\r\n\r\n"
    + HIDDEN,
    "an upgrade with a body": b"GET /ws HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Content-Length: 37\r\n\r\n" + HIDDEN,
}
# Passed on as one clean request, as the standard allows; their rest is a request of its own, in the client's
# connection and with an answer of its own. HAProxy and Apache unfold fields; HAProxy takes the Upgrade
# from a request that has a body.
NORMALISED = {
    "embedded": {"length and chunks"},
    "apache": {"length and chunks", "a folded field"},
    "haproxy": {"length and chunks", "a folded field", "an upgrade with a body"},
}


@pytest.mark.parametrize("case", CORPUS)
def test_no_request_is_read_in_two_ways(stand: Stand, case: str) -> None:
    with stand.notebook() as (session, notebook):
        request = CORPUS[case].replace(b"HOST", session.host.encode())
        answer = stand.send(session.host, request)
        heads = len(re.findall(rb"HTTP/1\.[01] \d", answer))
        assert heads <= 2
        if case not in NORMALISED[stand.kind]:
            assert re.match(rb"HTTP/1\.[01] (400|421|501) |$", answer), answer
            assert not notebook.requests
        # Whatever reached the notebook has an answer of its own: none was hidden in another.
        assert len(notebook.requests) <= heads


def test_no_log_holds_a_query(stand: Stand) -> None:
    secret = "c4n4ry-0f-4-qu3ry"
    with stand.notebook() as (session, _):
        stand.request(session.host, "GET", f"/?token={secret}")
    stand.request(session.host, "GET", f"/?token={secret}")  # it does not answer any more
    stand.send(
        session.host, f"GET /?token={secret} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".encode()
    )
    stand.send(session.host, f"GET /?token={secret} HTTP/1.1\r\nBad Field: x\r\n\r\n".encode())
    assert secret not in stand.log() + stand.engine_log()
