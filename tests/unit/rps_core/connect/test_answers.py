"""What a host answers is used in the documented form, or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rps_core.connect import answers
from rps_core.connect.ssh import Answer
from rps_core.errors import ConnectError

WHOLE: dict[str, Any] = {
    "name": "three-random-words",
    "url": "https://three-random-words.cluster.edu/?token=0123abcd",
    "state": "ready",
    "cause": "ready",
    "reason": None,
    "cluster": "comet",
    "app": "lab",
    "directory": "/home/alice",
    "node": "comet-14-01",
    "created": "2026-11-29T15:31:13+00:00",
    "time_left": 473,
    "of_a_later_version": {"anything": ["goes"]},
}
PERSONAL = WHOLE | {
    "url": "http://three-random-words.rps.localhost:8443/?token=0123abcd",
    "tunnel": {
        "host": "login2.cluster.edu",
        "socket": "/var/tmp/rps-1000/browser.sock",
        "port": 8443,
    },
}


def read(found: object) -> answers.RemoteSession:
    return answers.session(Answer(0, json.dumps(found)), "comet")


def test_a_session_that_is_reached_directly() -> None:
    session = read(WHOLE)
    assert (session.name, session.url, session.tunnel) == (WHOLE["name"], WHOLE["url"], None)
    assert session.url_at(9000) == WHOLE["url"]
    assert session.living
    assert "of_a_later_version" not in session.fields


def test_a_session_behind_a_tunnel_has_the_port_of_this_computer_in_its_url() -> None:
    session = read(PERSONAL)
    assert session.tunnel == answers.Tunnel(
        "login2.cluster.edu", "/var/tmp/rps-1000/browser.sock", 8443
    )
    assert session.url_at(9000) == "http://three-random-words.rps.localhost:9000/?token=0123abcd"
    tunnel = "-L 127.0.0.1:8443:/var/tmp/rps-1000/browser.sock"
    assert (
        session.tunnel.command("comet", "login2.cluster.edu", "alice") == f"ssh -N {tunnel} comet"
    )
    assert session.tunnel.command("comet", "login1.cluster.edu", "alice") == (
        f"ssh -N {tunnel} -J comet alice@login2.cluster.edu"
    )


def test_a_login_link_that_was_used_is_no_url_for_another_browser() -> None:
    base = "https://three-random-words.cluster.edu/"
    assert not read(WHOLE).needs_link  # of an earlier version, and of a session with its token
    assert not read(WHOLE | {"link": "token"}).needs_link
    assert not read(WHOLE | {"link": "once", "url": f"{base}login?token=once-1-0a"}).needs_link
    used = read(WHOLE | {"link": "once", "url": base})
    assert used.needs_link
    renewed = used.with_url(f"{base}login?token=once-2-0b")
    assert (renewed.url, renewed.fields["url"]) == (f"{base}login?token=once-2-0b",) * 2
    assert not renewed.needs_link


@pytest.mark.parametrize(
    "changes",
    [
        {"link": "twice"},
        {"name": "../../etc"},
        {"name": "--all"},
        {"name": None},
        {"url": "javascript:alert(1)"},
        {"url": "file:///etc/passwd"},
        {"url": "http://three-random-words.cluster.edu/?token=0123abcd"},
        {"url": "https://a.edu/\x1b]0;x\x07"},
        {"url": "https://user:password@a.edu/"},
        {"url": "https://a.edu/\nhttps://b.edu/"},
        {"state": "ready\x1b[2J"},
        {"reason": "\x1b[2J"},
        {"directory": "/home/\x9b2Jalice"},
        {"cluster": "\u202egnirts"},
        {"time_left": 1e300},
        {"time_left": True},
        {"tunnel": "login2:/socket"},
        {"tunnel": {}},
    ],
)
def test_another_form_is_no_answer(changes: dict[str, Any]) -> None:
    with pytest.raises(ConnectError) as caught:
        read(WHOLE | changes)
    assert str(caught.value).isprintable() or "\n" in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("host", "-oProxyCommand=x"),
        ("host", "a b"),
        ("host", "a;b"),
        ("socket", "relative.sock"),
        ("socket", "/a:127.0.0.1:22"),
        ("socket", "/a b"),
        ("socket", "/" + 200 * "a"),
        ("port", 80),
        ("port", 65536),
        ("port", "8443"),
        ("port", True),
    ],
)
def test_a_tunnel_that_leads_elsewhere_is_refused(key: str, value: object) -> None:
    with pytest.raises(ConnectError):
        read(PERSONAL | {"tunnel": PERSONAL["tunnel"] | {key: value}})


def test_a_url_behind_a_tunnel_leads_to_this_computer() -> None:
    with pytest.raises(ConnectError):
        read(PERSONAL | {"url": WHOLE["url"]})


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"name": 1, "name": 2}', "[" * 100_000])
def test_what_is_not_an_object_is_no_session(text: str) -> None:
    with pytest.raises(ConnectError):
        answers.session(Answer(0, text), "comet")


def test_a_list_of_sessions() -> None:
    listed = answers.sessions(Answer(0, json.dumps([WHOLE, PERSONAL])), "comet")
    assert [one.name for one in listed] == [WHOLE["name"]] * 2
    lists: list[Any] = [{}, [1], [WHOLE, {}]]
    wrong = [json.dumps(each) for each in lists]
    for text in (*wrong, '], "sessions": ['):
        with pytest.raises(ConnectError):
            answers.sessions(Answer(0, text), "comet")


@pytest.mark.parametrize("state", ["ended", "failed", "ending"])
def test_a_session_that_ends_is_not_gone_on_with(state: str) -> None:
    assert not read(WHOLE | {"state": state}).living
    assert not read(WHOLE | {"cause": "elsewhere"}).living


def test_a_service_of_a_machine_without_a_cluster_is_reached_there_alone() -> None:
    url = "https://three-random-words.rps.localhost:8443/?token=0123abcd"
    assert read(WHOLE | {"url": url}).only_there
    assert not read(WHOLE).only_there
    assert not read(PERSONAL).only_there
