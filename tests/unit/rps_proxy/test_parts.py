"""The service's small parts: leases, headers, frames, addresses, hosts, pages."""

from __future__ import annotations

import re
import ssl
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rps_proxy.control.leases import Leases
from rps_proxy.engine import Target
from rps_proxy.engines.embedded.headers import (
    BadHeadError,
    provenance,
    request_head,
    response_head,
    without_domain,
)
from rps_proxy.engines.embedded.routes import Route, Routes
from rps_proxy.engines.embedded.websocket import Frames
from rps_proxy.hostnames import Hosts
from rps_proxy.networks import AddressSet, plain
from rps_proxy.pages.catalogue import Catalogue
from rps_proxy.pages.render import PAGES, Pages
from rps_proxy.pages.state import PageState


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_lease_runs_out_unless_it_is_renewed() -> None:
    clock = Clock()
    leases = Leases(45, 2, clock)
    leases.grant("a")
    leases.grant("b")
    for _ in range(22):
        clock.now += 2
        assert leases.sweep() == []
    leases.grant("b")
    clock.now += 2
    assert leases.sweep() == ["a"]
    clock.now += 2
    assert leases.sweep() == []


def test_a_dropped_lease_is_not_reported() -> None:
    clock = Clock()
    leases = Leases(3, 2, clock)
    leases.grant("a")
    leases.drop("a")
    leases.drop("a")
    clock.now += 4
    assert leases.sweep() == []


def test_time_that_the_service_was_away_does_not_count() -> None:
    clock = Clock()
    leases = Leases(45, 2, clock)
    leases.grant("a")
    clock.now += 600
    assert leases.sweep() == []
    for _ in range(21):
        clock.now += 2
        assert leases.sweep() == []
    clock.now += 2
    assert leases.sweep() == ["a"]


CASES = [
    (b"a=1; Domain=rps.localhost; Path=/", b"a=1; Path=/"),
    (b"a=1;domain=.x;Secure", b"a=1;Secure"),
    (b"a=1; DOMAIN = x ; HttpOnly", b"a=1; HttpOnly"),
    (b"a=1; Domain", b"a=1"),
    (b"a=1; Domain=x; Domain=y", b"a=1"),
    (b"domain=1; Path=/", b"domain=1; Path=/"),
    (b"a=domain", b"a=domain"),
    (b"a=1; Path=/domain", b"a=1; Path=/domain"),
]


@pytest.mark.parametrize(("cookie", "passed"), CASES)
def test_cookies_lose_their_domain(cookie: bytes, passed: bytes) -> None:
    assert without_domain(cookie) == passed


def test_what_connection_names_goes_and_what_frames_the_message_stays() -> None:
    head = request_head(
        "GET",
        "/a?b",
        [
            (b"Host", b"h"),
            (b"connection", b"X-One, content-length,HOST"),
            (b"Connection", b"x-two, close"),
            (b"X-One", b"1"),
            (b"x-TWO", b"2"),
            (b"Content-Length", b"0"),
            (b"X-Three", b"3"),
            (b"X-Forwarded-Anything", b"x"),
        ],
        provenance=provenance("2001:db8::1", "h:8443"),
        chunked=False,
        upgrade=False,
    )
    assert head.split(b"\r\n") == [
        b"GET /a?b HTTP/1.1",
        b"Host: h",
        b"Content-Length: 0",
        b"X-Three: 3",
        b"X-Forwarded-For: 2001:db8::1",
        b"X-Forwarded-Host: h:8443",
        b"X-Forwarded-Proto: https",
        b"X-Real-IP: 2001:db8::1",
        b"",
        b"",
    ]


@pytest.mark.parametrize("text", [b"a\nb", b"a\rb", b"a\r\nb: c", b"a\0b"])
def test_no_field_can_start_another(text: bytes) -> None:
    with pytest.raises(BadHeadError):
        response_head(200, "OK", [(b"X", text)])
    with pytest.raises(BadHeadError):
        response_head(200, "OK", [(text, b"x")])
    with pytest.raises(BadHeadError):
        response_head(200, text.decode(), [])


def frame(payload: bytes, *, masked: bool, opcode: int = 2) -> bytes:
    bit = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        head = bytes([0x80 | opcode, bit | size])
    elif size < 65536:
        head = bytes([0x80 | opcode, bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([0x80 | opcode, bit | 127]) + size.to_bytes(8, "big")
    return head + (b"mask" if masked else b"") + payload


SIZES = st.sampled_from([0, 1, 2, 125, 126, 127, 300, 65535, 65536])


@given(
    frames=st.lists(st.tuples(SIZES, st.booleans()), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 1000), max_size=30),
)
def test_the_ends_of_frames_are_found_however_they_arrive(
    frames: list[tuple[int, bool]], cuts: list[int]
) -> None:
    stream, ends = b"", {0}
    for size, masked in frames:
        stream += frame(b"\x88" * size, masked=masked)
        ends.add(len(stream))
    marks = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
    follower = Frames()
    for start, stop in pairwise(marks):
        end = follower.feed(stream[start:stop])
        within = [mark for mark in ends if start < mark <= stop]
        assert end == (max(within) - start if within else -1)
        assert follower.between == (stop in ends)
    assert not follower.closed


def test_after_a_close_nothing_may_follow() -> None:
    follower = Frames()
    data = frame(b"\x03\xe8", masked=True, opcode=8)
    assert follower.feed(data[:1]) == -1
    assert not follower.closed
    assert follower.feed(data[1:]) == len(data) - 1
    assert follower.closed


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.1.2.3", True),
        ("10.2.0.1", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:10.2.0.1", False),
        ("fd00::1", True),
        ("fe80::1%eth0", True),
        ("127.0.0.1", False),
    ],
)
def test_networks(address: str, inside: bool) -> None:
    networks = AddressSet(["10.1.0.0/16", "fd00::/8", "fe80::/64"])
    assert (plain(address) in networks) is inside
    assert (plain(address) in networks) is inside  # remembered


def route(routes: Routes, host: str) -> Route | None:
    return routes.find(host)


async def test_routes_are_found_by_exact_host() -> None:
    routes = Routes(Hosts("rps.example", 8443), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), 1)
    target = Target("a-b-c", "a-b-c.rps.example", "10.1.0.1", 5000)
    await routes.add(target)
    found = route(routes, "a-b-c.rps.example")
    assert found is not None
    assert route(routes, "a-b-c.rps.example:8443") is found
    assert found.public_host == "a-b-c.rps.example:8443"
    for host in ("a-b-c.rps.example:443", "a-b-c.rps.example.", "a-b-c", "x.a-b-c.rps.example"):
        assert route(routes, host) is None
    await routes.add(replace(target, address="10.1.0.2"))
    assert route(routes, "a-b-c.rps.example") is found
    await routes.remove(target)
    assert route(routes, "a-b-c.rps.example") is None


async def test_the_embedded_engine_is_brought_in_step() -> None:
    routes = Routes(Hosts("rps.example", 443), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), 1)
    one = Target("a-b-c", "a-b-c.rps.example", "10.1.0.1", 5000)
    other = Target("d-e-f", "d-e-f.rps.example", "10.1.0.1", 5001)
    await routes.add(one)
    await routes.reconcile({other.name: other})
    assert route(routes, one.host) is None
    assert route(routes, other.host) is not None


@pytest.mark.parametrize(
    ("host", "label"),
    [
        ("manage.rps.example", "manage"),
        ("manage.rps.example:8443", "manage"),
        ("manage.rps.example:443", None),
        ("manage.rpsxexample", None),
        ("rps.example", None),
        ("a.b.rps.example", None),
        ("x" * 101 + ".rps.example", None),
    ],
)
def test_labels(host: str, label: str | None) -> None:
    assert Hosts("rps.example", 8443).label(host) == label


def test_no_port_in_urls_where_it_is_the_usual_one() -> None:
    assert Hosts("rps.example", 443).public("manage.rps.example") == "manage.rps.example"


@pytest.mark.parametrize("state", PAGES)
def test_pages_work_under_their_own_policy(state: str) -> None:
    """Test for inline styles, scripts and other origins.

    Live pages refresh by themselves.
    """
    text = Pages().html(PageState(state, "held", 2e9, 1e9), Catalogue().language("en"))
    if state == "too-large":  # has its script within it, and the policy that script's digest
        text, script, end = re.split("<script>|</script>", text)
        assert b64encode(sha256(script.encode()).digest()).decode() in Pages().policy
        text += end
    assert not re.search(r"<style|<script(?! src=)|style=| on[a-z]+=|//", text)
    loaded = set(re.findall(r'(?:src|href)="([^"]+)"', text))
    assert loaded <= {"/.rps/icon.svg", "/.rps/page.css", "/.rps/page.js"}
    refreshes = '<noscript><meta http-equiv="refresh" content="5"></noscript>' in text
    assert refreshes == ("page.js" in text) == (PAGES[state].status >= 500)
    assert f'<html lang="en" dir="ltr" data-state="{state}"' in text
    assert 'name="viewport"' in text
