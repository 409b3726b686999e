"""Ambiguous requests: refused, or forwarded as one unambiguous request."""

from __future__ import annotations

import http.client
import json
import re
from contextlib import ExitStack, suppress

import pytest

from tests.engines.stand import Carried, Stand
from tests.stands.malformed import ANSWERS, CHUNKED, CHUNKS, HEADS, HOSTS, LINES, SMUGGLED
from tests.stands.service import DOMAIN, read_head

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: HOST\r\n\r\n"
CORPUS = {
    "length and chunks": b"POST /a HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two lengths": b"POST /a HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nContent-Length: 37\r\n\r\n"
    + HIDDEN,
    "a signed length": b"POST /a HTTP/1.1\r\nHost: HOST\r\nContent-Length: +0\r\n\r\n" + HIDDEN,
    "a length of 65 bits": b"POST /a HTTP/1.1\r\nHost: HOST\r\nContent-Length: 18446744073709551616\r\n\r\n"
    + HIDDEN,
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
# Forwarded as one unambiguous request, as the standard allows; the rest is another request on the client's
# connection and with an answer of its own. HAProxy and Apache unfold fields; HAProxy takes the Upgrade
# from a request that has a body, one of two equal fields, and a line feed alone for the end of a line.
NORMALISED = {
    "embedded": {"length and chunks"},
    "apache": {
        "length and chunks",
        "a folded field",
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked",
        "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding:\r\n chunked",
        "POST / HTTP/1.0\r\nHost: {host}\r\nTransfer-Encoding: chunked",
        "GET / HTTP/1.1\r\nHost: {host}\r\nX: a\r\n folded",
        "GET / HTTP/2.0\r\nHost: {host}",
        "OPTIONS * HTTP/1.1\r\nHost: {host}",  # which it answers itself
    },
    "haproxy": {
        "length and chunks",
        "a folded field",
        "an upgrade with a body",
        "GET / HTTP/1.1\r\nHost: {host}\r\nHost: {host}",
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked",
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\nContent-Length: 3",
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3, 3",
        "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding:\r\n chunked",
        "GET / HTTP/1.1\r\nHost: {host}\r\nX: a\r\n folded",
        "GET  / HTTP/1.1\r\nHost: {host}",
        "GET / HTTP/2.0\r\nHost: {host}",
        "GET / HTTP/1.1\nHost: {host}\n\n",
        "GET / HTTP/1.1\nHost: {host}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: {host}\nX: 1\r\n\r\n",
    },
}
REFUSED = re.compile(rb"HTTP/1\.[01] (400|413|414|421|431|500|501) |$")
# Answers that are passed on: of two lengths the chunks count. Apache takes what is no HTTP for the body of an
# answer without a head, HAProxy a NUL for a character; both come from the session's own notebook alone.
TWO_LENGTHS, NUL, *NO_HTTP = ANSWERS[0], ANSWERS[2], *ANSWERS[4:6]
PASSED = {"embedded": [], "apache": [TWO_LENGTHS, *NO_HTTP], "haproxy": [TWO_LENGTHS, NUL]}


def read_once(carried: Carried, case: str, request: bytes) -> bytes:
    """Send it, and see that nothing was hidden in it; the answer."""
    stand, session, notebook = carried
    before = len(notebook.requests)
    answer = stand.send(session.host, request, patience=1)
    reached = notebook.requests[before:]
    heads = len(re.findall(rb"HTTP/1\.[01] \d", answer))
    assert heads <= 2
    if case not in NORMALISED[stand.kind]:
        assert not reached
        assert b"evil" not in answer
        assert session.name.encode() not in answer
    # Whatever reached the notebook has an answer of its own: none was hidden in another.
    assert len(reached) <= heads
    return answer


@pytest.mark.parametrize("case", CORPUS)
def test_no_request_is_read_in_two_ways(carried: Carried, case: str) -> None:
    request = CORPUS[case].replace(b"HOST", carried.session.host.encode())
    answer = read_once(carried, case, request)
    assert case in NORMALISED[carried.stand.kind] or REFUSED.match(answer), answer


def test_nothing_follows_a_head_that_could_be_read_in_two_ways(carried: Carried) -> None:
    for head in HEADS:
        request = head.format(host=carried.session.host)
        request += "\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"
        answer = read_once(carried, head, request.encode("latin-1"))
        assert head in NORMALISED[carried.stand.kind] or REFUSED.match(answer), (head, answer)
    assert not any("smuggled" in line for line in carried.notebook.requests)


def test_nothing_hides_behind_a_chunk(carried: Carried) -> None:
    for body in CHUNKS:
        sent = (CHUNKED + body + SMUGGLED).format(host=carried.session.host)
        assert REFUSED.match(read_once(carried, body, sent.encode())), body
    assert not any("smuggled" in line for line in carried.notebook.requests)


# After the last chunk. All but HAProxy drop them (docs/security.md).
TRAILED = (
    "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
    "X-Forwarded-For: 9.9.9.9\r\n{last}\r\n\r\n"
)


@pytest.mark.parametrize("last", ["X-Last: 1", "X-Rps-Caller: 9.9.9.9", "Host: evil"])
def test_trailers_are_in_no_head(carried: Carried, last: str) -> None:
    stand, session, notebook = carried
    before = len(notebook.requests)
    after = f"GET /after HTTP/1.1\r\nHost: {session.host}\r\nConnection: close\r\n\r\n"
    request = TRAILED.format(path="/echo", host=session.host, last=last) + after
    answers = stand.send(session.host, request.encode()).decode()
    if stand.kind == "embedded" and "Host" in last:  # what came after it has two of them
        assert REFUSED.match(answers.encode())
        return
    messages = [
        json.JSONDecoder().raw_decode(answer.partition("\r\n\r\n")[2])[0]
        for answer in answers.split("HTTP/1.1 200 ")[1:]
    ]
    assert [one["line"] for one in messages] == notebook.requests[before:]
    assert messages[0]["body"] == "abc"
    assert bool(messages[0]["trailers"]) == (stand.kind == "haproxy")
    assert len(messages) == (1 if stand.kind == "embedded" else 2)
    for one in messages:
        names = [name.lower() for name, _ in one["headers"]]
        assert names.count("host") == names.count("x-forwarded-for") == 1
        assert not {"x-last", "x-rps-caller"} & set(names)
        assert "9.9.9.9" not in str(one["headers"])


@pytest.mark.parametrize(
    "last", ["Origin: https://evil.example", "Host: evil", "Authorization: Bearer x"]
)
def test_trailers_of_one_client_are_in_no_head_of_anothers(carried: Carried, last: str) -> None:
    """Engines send what is for the service over connections that all clients share."""
    stand, session, _ = carried
    manage = f"manage.{DOMAIN}:{stand.port}"
    trailed = TRAILED.format(path="/api/v1/nothing", host=manage, last=last).encode()
    field = {"Host": manage, "Authorization": f"Bearer {session.claim}"}
    with ExitStack() as open_ones:
        others = []
        for _ in range(3):
            client = http.client.HTTPConnection("service")
            client.sock = open_ones.enter_context(stand.connect(manage))
            others.append(client)
        for client in 10 * others:
            with stand.connect(manage) as connection:
                connection.sendall(trailed)
                assert " 404 " in read_head(connection)
            client.request("GET", f"/api/v1/sessions/{session.name}", headers=field)
            response = client.getresponse()
            assert (response.status, b'"ready"' in response.read()) == (200, True)


def test_too_many_trailers_are_refused(carried: Carried) -> None:
    stand, session, _ = carried
    flood = "\r\n".join(["X-T: 1"] * 20_000)
    for host in (f"manage.{DOMAIN}:{stand.port}", session.host):  # the API, and a notebook
        answer = b""
        with suppress(OSError):  # it was aborted during the transfer
            answer = stand.send(host, TRAILED.format(path="/echo", host=host, last=flood).encode())
        assert b" 200 " not in answer


def test_lines_have_one_end_and_heads_a_limit(carried: Carried) -> None:
    for head in LINES:
        answer = read_once(carried, head, head.format(host=carried.session.host).encode())
        assert head in NORMALISED[carried.stand.kind] or REFUSED.match(answer), (head[:80], answer)


def test_only_the_very_host_counts(carried: Carried) -> None:
    stand, session, notebook = carried
    for host, status in HOSTS:
        text = host.format(
            name=session.name, NAME=session.name.upper(), domain=DOMAIN, port=stand.port
        )
        request = b"GET /lab HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % text.encode()
        before = len(notebook.requests)
        answer = stand.send(session.host, request)
        if status == 200:
            assert answer.startswith(b"HTTP/1.1 200 "), (host, answer)
        else:
            assert re.match(rb"HTTP/1\.1 (%d|400) " % status, answer), (host, answer)
            assert notebook.requests[before:] == []


def test_malformed_answers_go_no_further(carried: Carried) -> None:
    stand, session, _ = carried
    for answer in ANSWERS:
        came = stand.request(session.host, "GET", "/raw", headers={"X-Answer": answer.hex()})
        assert came.status == 502 or answer in PASSED[stand.kind], (answer, came.status)
        assert came.headers["Set-Cookie"] is None


def test_no_log_holds_a_query(stand: Stand) -> None:
    secret = "c4n4ry-0f-4-qu3ry"
    with stand.notebook() as (session, _):
        stand.request(session.host, "GET", f"/?token={secret}")
    stand.request(session.host, "GET", f"/?token={secret}")  # it does not answer any more
    for malformed in ("Host: a\r\nHost: b", "Bad Field: x"):
        request = f"GET /?token={secret} HTTP/1.1\r\n{malformed}\r\n\r\n"
        stand.send(session.host, request.encode(), patience=1)
    assert secret not in stand.log() + stand.engine_log()
