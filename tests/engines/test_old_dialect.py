"""The calls of the older service, to the byte on each engine, and its sessions, which speak plain HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from tests.engines.stand import Stand, running
from tests.faults.service_stand import (
    DOMAIN,
    Notebook,
    read_exactly,
    read_head,
    until,
    upgrade_request,
)

TEXT, HTML = "text/plain", "text/html"
FRAME = b"\x81\x85\0\0\0\0hello"


def ask(stand: Stand, path: str, method: str = "GET") -> tuple[int, str | None, bytes]:
    answer = stand.request(f"manage.{DOMAIN}:{stand.port}", method, path, source="127.0.0.1")
    return answer.status, answer.headers["Content-Type"], answer.body


def oops(text: str) -> tuple[int, str, bytes]:
    return 200, TEXT, f"Oops! {text}\n".encode()


def test_a_name_from_getlink_to_destroytoken(stand: Stand) -> None:
    status, kind, body = ask(stand, "/getlink.cgi")
    assert (status, kind, body[:15]) == (200, TEXT, b"Your token is \n")
    name = body.decode().split()[-1]
    host = f"{name}.{DOMAIN}:{stand.port}"
    assert body == f"Your token is \n{name}\n".encode()
    linked = ask(stand, f"/linktoken.cgi?token={name.upper()}&jobid=17")
    assert linked == (200, HTML, b"Success! Token linked to jobid.\n")
    assert ask(stand, f"/tokenjobstate.cgi?token={host}") == (200, TEXT, b"PE")
    assert stand.request(host, "GET", "/").status == 503
    with Notebook(None, stand.directory) as notebook:
        redeemed = ask(stand, f"/redeemtoken.cgi?token={name}&port={notebook.port}")
        assert redeemed == (200, HTML, b"Success!\n")
        assert ask(stand, f"/tokenjobstate.cgi?token={name}") == (200, TEXT, b"PR")
        answer = stand.request(host, "GET", "/lab?token=0123")
        assert answer.json()["line"] == "GET /lab?token=0123 HTTP/1.1"
        assert "domain" not in str(answer.headers.get_all("Set-Cookie")).lower()
        with stand.connect(host) as foreign:
            foreign.sendall(upgrade_request(host, Origin="https://evil.example"))
            assert " 403 " in read_head(foreign)
        with stand.connect(host) as websocket:
            websocket.sendall(upgrade_request(host, Origin=f"https://{host}"))
            assert " 101 " in read_head(websocket)
            websocket.sendall(FRAME)
            assert read_exactly(websocket, len(FRAME)) == FRAME
            destroyed = ask(stand, f"/destroytoken.cgi?token={name}")
            assert destroyed == (200, HTML, b"Success! Token destroyed.\n")
            websocket.settimeout(60)
            while websocket.recv(100):
                pass
        until(lambda: stand.request(host, "GET", "/lab").status == 410, "its route is out")
    assert ask(stand, f"/tokenjobstate.cgi?token={name}") == (200, TEXT, b"")


def test_refusals_are_answers_as_any_other(stand: Stand) -> None:
    """Status 200 and the very text, whatever an engine thinks of errors."""
    name = ask(stand, "/getlink.cgi")[2].decode().split()[-1]
    for path, text in (
        ("/linktoken.cgi", "Missing 'token' parameter"),
        (f"/redeemtoken.cgi?token={name}&port=80",
         "'port' parameter isn't an integer between 1024 and 65535"),
        ("/redeemtoken.cgi?token=a-b-c&port=5000", "Unknown nonce or nonce already used"),
        ("/destroytoken.cgi?token=a-b-c", "Unknown nonce or nonce already destroyed"),
    ):  # fmt: skip
        assert ask(stand, path) == oops(text)
        assert ask(stand, path, "POST") == oops("Only GET method is supported")
        assert ask(stand, path, "HEAD") == (200, TEXT, b"")


def test_redeemed_and_not_yet_live(tmp_path: Path, need: Callable[[str], str]) -> None:
    """`M`: the engine does not have the route yet."""
    with running(tmp_path, "haproxy", need) as stand:
        session = stand.issue()
        path = f"/tokenjobstate.cgi?token={session.name}"
        stand.kill_engine()
        body = {"port": 5000, "job_id": "1"}
        redeem = f"sessions/{session.name}/redeem"
        assert stand.past_the_engine(redeem, session.claim, body)[0] == 200
        with contextlib.closing(stand.behind(15)) as client:
            headers = {"Host": f"manage.{DOMAIN}", "X-Rps-Caller": "192.0.2.1"}
            client.request("GET", path, headers=headers)
            answer = client.getresponse()
            assert (answer.status, answer.getheader("Content-Type")) == (200, TEXT)
            assert answer.read() == b"M"
        stand.start_engine()
        until(lambda: ask(stand, path) == (200, TEXT, b"PR"), "it is live")
