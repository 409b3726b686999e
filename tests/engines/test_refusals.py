"""Malformed requests: refused by a line of rps's on any engine, never by a 5xx."""

from __future__ import annotations

import re
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import h2.config
import h2.connection
import h2.events
import pytest

from tests.engines.fuzzing import defects
from tests.engines.requests_grammar import CHUNKS
from tests.engines.stand import Carried
from tests.stands.service import DOMAIN

_STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3}) ")


def answers(carried: Carried, requests: list[str]) -> dict[str, bytes]:
    """Return the answer to each request, by its beginning."""

    def answer(request: str) -> bytes:
        return carried.stand.send(f"manage.{DOMAIN}", request.encode("latin-1"), 0.3)

    with ThreadPoolExecutor(8) as pool:
        found = dict(zip(requests, pool.map(answer, requests), strict=True))
    # A connection that is closed with bytes unread may be reset before its answer is read.
    for request in [request for request, one in found.items() if not one]:
        found[request] = answer(request)
    return {request[:300]: one for request, one in found.items()}


def wrong(found: dict[str, bytes]) -> dict[str, bytes]:
    """Answers that are a 5xx, no HTTP/1, or an engine's own page."""
    return {
        request: answer[:300]
        for request, answer in found.items()
        if answer
        and (
            (status := _STATUS.match(answer)) is None
            or int(status[1]) >= 500
            or b"<!DOCTYPE HTML PUBLIC" in answer
        )
    }


@pytest.mark.parametrize("place", ["notebook", "service"])
def test_what_is_malformed_is_refused_by_us(carried: Carried, place: str) -> None:
    """Test invalid codings, and chunks that are malformed after a part was forwarded."""
    host, path = (carried.session.host, "/x")
    if place == "service":
        host, path = f"manage.{DOMAIN}", "/api/v1/sessions"
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nTransfer-Encoding: "
    requests = [f"{head}chunked\r\n\r\n{chunks}" for chunks in ("g\r\n", *CHUNKS[:3])]
    codings = ("gzip, chunked", "chunked, chunked", "identity", "xchunked")
    requests += [f"{head}{coding}\r\n\r\n3\r\nabc\r\n0\r\n\r\n" for coding in codings]
    found = answers(carried, requests)
    assert all(found.values())
    assert wrong(found) == {}
    assert defects(carried) == []


@pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/0.9", "HTTP/3.0"])
def test_versions_that_are_none(carried: Carried, version: str) -> None:
    host = carried.stand.issue().host
    # HAProxy and Apache take these for HTTP/1.1.
    paths = ("/.rps/events", "/.rps/state")
    found = answers(carried, [f"GET {path} {version}\r\nHost: {host}\r\n\r\n" for path in paths])
    assert {request: one for request, one in wrong(found).items() if b" 505 " not in one[:20]} == {}
    assert defects(carried) == []


def test_bytes_before_a_websocket_is_open(carried: Carried) -> None:
    """Over HTTP/2, with the request: HAProxy would answer 500."""
    if carried.stand.kind != "haproxy":
        return  # the others offer no websockets over HTTP/2
    context = ssl.create_default_context(cafile=str(carried.stand.directory / "ca" / "ca.pem"))
    context.set_alpn_protocols(["h2"])
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    client.initiate_connection()
    head = [(":method", "CONNECT"), (":scheme", "https"), (":authority", carried.session.host)]
    head += [(":path", "/ws"), (":protocol", "websocket"), ("sec-websocket-version", "13")]
    client.send_headers(1, head)
    client.send_data(1, b"early")
    plain = socket.create_connection(("127.0.0.1", carried.stand.port), 20)
    with context.wrap_socket(plain, server_hostname=f"manage.{DOMAIN}") as connection:
        connection.sendall(client.data_to_send())
        statuses: list[bytes] = []
        deadline = time.monotonic() + 20
        while not statuses:
            assert time.monotonic() < deadline
            for event in client.receive_data(connection.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    statuses.append(dict(event.headers or ())[b":status"])
    assert statuses == [b"400"]
