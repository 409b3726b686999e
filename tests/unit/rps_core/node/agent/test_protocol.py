"""The grammar that the launcher and the agent hold a service to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rps_core.node.agent import protocol
from rps_core.node.agent.protocol import Malformed, read_object
from rps_core.node.agent.words import quoted, without_addresses
from rps_proxy.registry import names
from rps_proxy.tls.authority import Authority
from tests.stands.hostile_values import CLAIM, CLAIMS, DOMAIN, HOST, HOSTS, NAME, NAMES, TIMES, URLS

ISSUED = {"name": NAME, "host": HOST, "url": f"https://{HOST}/", "claim": CLAIM}


def issued(fields: dict[str, object], manager: str = f"manage.{DOMAIN}") -> dict[str, Any]:
    return protocol.issued(manager)({**ISSUED, **fields})


@pytest.mark.parametrize("port", ["", ":1", ":443", ":8443", ":65535"])
def test_a_new_name(port: str) -> None:
    url = f"https://{HOST}{port}/"
    assert issued({"url": url, "later": "field"}) == {**ISSUED, "url": url}
    # The domain is the configuration's, as typed.
    assert issued({"url": url}, "manage.RPS.localhost.")["name"] == NAME


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("name", name) for name in NAMES),
        *(("url", url) for url in URLS),
        *(("host", host) for host in HOSTS),
        *(("claim", claim) for claim in CLAIMS),
    ],
)
def test_no_other_is_taken(field: str, value: object) -> None:
    with pytest.raises(Malformed, match=f"`{field}`|`host`|`url`") as caught:
        issued({field: value})
    assert str(value) not in str(caught.value) or value in ("", "/", ".")
    if field == "name":  # nor with a host and a URL that fit
        host = f"{value}.{DOMAIN}"
        with pytest.raises(Malformed):
            issued({"name": value, "host": host, "url": f"https://{host}/"})


def test_every_name_of_the_service_is_one() -> None:
    for _ in range(200):
        name = names.new_name()
        assert protocol.is_name(name)
        assert protocol.is_session_name(name)
    assert max(map(len, names.words())) * 3 + 2 <= 63


@pytest.mark.parametrize("value", TIMES)
def test_a_lease(value: object) -> None:
    assert protocol.LEASE({"renew_every": 15, "lease": 45}) == {"renew_every": 15}
    with pytest.raises(Malformed, match="`renew_every`"):
        protocol.LEASE({"renew_every": value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("phase", "over"), ("phase", ["gone"]), ("phase", None), ("live", 1), ("live", None), ("live", "yes"),
        ("reason", ""), ("reason", 7), ("reason", "two\nlines"), ("reason", "\x1b[2J"), ("reason", "\u202e"),
        ("reason", "x" * 257), ("reason", {}),
    ],
)  # fmt: skip
def test_a_state(field: str, value: object) -> None:
    good = {"phase": "gone", "live": False, "reason": "it was stopped", "job_id": "17"}
    assert protocol.STATE(good)["reason"] == "it was stopped"
    assert protocol.STATE({"phase": "gone", "live": True})["reason"] is None
    with pytest.raises(Malformed, match=f"`{field}`"):
        protocol.STATE({**good, field: value})


def test_pem(tmp_path_factory: pytest.TempPathFactory) -> None:
    authority = Authority(tmp_path_factory.mktemp("ca"), "it", DOMAIN)
    leaf = authority.issue([HOST], 1)
    pem, key, ca = leaf.certificate.decode(), leaf.key.decode(), authority.certificate.decode()
    good = {"certificate": pem + ca, "key": key, "ca": ca}
    assert protocol.CERTIFICATE(good) == good
    for field, value in (
        ("key", ""), ("key", 7), ("key", None), ("key", key + key), ("key", pem), ("key", "/etc/passwd"),
        ("key", key.replace("PRIVATE", "ENCRYPTED PRIVATE")),
        ("key", key.replace("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\n", 1)),
        ("certificate", key), ("certificate", pem * 100), ("certificate", pem.replace("\n", "\r\n")),
        ("ca", f"{ca}\x1b[2J"), ("ca", f"#!/bin/sh\n{ca}"), ("ca", ca[:-1]), ("ca", [ca]),
    ):  # fmt: skip
        with pytest.raises(Malformed, match=f"`{field}`"):
            protocol.CERTIFICATE({**good, field: value})


@pytest.mark.parametrize(
    "value", ["", 7, None, "Gone", "\x1b[2J", "a b", "-a", "a-", "a" * 41, ["gone"]]
)
def test_a_code(value: object) -> None:
    assert protocol.REFUSAL({"error": "unknown-name"}) == {"error": "unknown-name"}
    with pytest.raises(Malformed, match="`error`"):
        protocol.REFUSAL({"error": value})


def test_the_jobs_of_a_cluster() -> None:
    job = {"name": NAME, "job_id": "17", "user": None, "seen": False}
    assert protocol.jobs({"jobs": [job]}) == {"jobs": [job]}
    every: list[object] = [None, {}, [7]]
    every += [
        [{**job, key: value}] for key, value in (("name", "../x"), ("job_id", "\x1b"), ("seen", 0))
    ]
    for bad in every:
        with pytest.raises(Malformed):
            protocol.jobs({"jobs": bad})


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"7", b"null", b'"x"', b"{}x", b'{"a": \xff}', b'{"a": NaN}', b'{"a": Infinity}',
        b'{"a": 1e999}', b'{"a": -1e999}', b'{"a": 1, "a": 2}', b'{"a": {"b": 1, "b": 1}}', b"\xef\xbb\xbf{}",
        b'{"a": ' + b"9" * 5000 + b"}", b"[" * 100_000, b'{"a":' * 100_000, b"{'a': 1}",
    ],
    ids=lambda content: content[:20],
)  # fmt: skip
def test_what_is_no_object(content: bytes) -> None:
    with pytest.raises(Malformed):
        read_object(content)


@given(
    st.dictionaries(st.text(), st.none() | st.booleans() | st.text() | st.integers(-(2**63), 2**63))
)
def test_an_object_is_read_as_it_is(found: dict[str, Any]) -> None:
    assert read_object(json.dumps(found).encode()) == found


@given(st.text())
def test_words_of_others_stay_within_their_quotation_marks(words: str) -> None:
    found = quoted(words)
    assert found.isprintable()
    assert found.count('"') == 2
    assert len(found) <= 202


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/x?y", "evil.example", "www.evil.example.", "HTTP://EVIL.EXAMPLE",
        "evil\uff0eexample", "evil\u3002example", "evil\u2024example", "\uff48ttps://evil",
        "evil.exa\u200bmple", "x@evil",
        "evil.example:8443", "e\u00advil.example", "hxxps://evil", "\u202eelpmaxe.live",
        "xn--vil-2ma.example",
        "ev\u0131l.example",
        ".evil.example", "\u2026evil.example/login", "//evil.example/login", "http:/evil/login",
        "in:evil.example", "\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444/x", "evil.\u0441om",
        "evil.c\u0338om", "evil.\u79fb\u52a8", "evil-.example", "x/https://evil.example",
        "x/y@evil", "203.0.113.7", "203.0.113.7:8443/login", "[2001:db8::1]", "[::1]:8443/x",
    ],
)  # fmt: skip
def test_an_address_is_left_out(address: str) -> None:
    assert without_addresses(f"log in at {address} now") == "log in at [address] now"


@pytest.mark.parametrize(
    "words",
    [
        "the job ended (exit code 1)",
        "its files in /home/a/.local/x are gone. All of them.",
        "a.m. 3.5 x",
        "./run.sh in jobs/a.sh ended at 12:30:45, [address] 1234[7].",
    ],
)
def test_other_words_are_left_as_they_are(words: str) -> None:
    assert without_addresses(words) == words


@pytest.mark.parametrize("part", ["a", "a.", "1.", "-", ":", "[", ".", "a b."])
def test_long_words_take_no_longer_than_as_many_short_ones(part: str) -> None:
    """Test linear time: with quadratic time these would take half an hour."""
    words = part * (300_000 // len(part))
    assert len(without_addresses(words)) <= len(words)
