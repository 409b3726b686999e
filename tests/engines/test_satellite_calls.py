"""The satellite's calls, to the byte on each engine, and its plain HTTP sessions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rps_proxy.cli import admin_client
from rps_proxy.settings.loading import load
from tests.engines.stand import PROGRAMS, Stand, running
from tests.stands.service import DOMAIN, Notebook, read_exactly, read_head, upgrade_request
from tests.stands.waiting import until

TEXT, HTML = "text/plain", "text/html"
FRAME = b"\x81\x85\0\0\0\0hello"


def ask(stand: Stand, path: str, method: str = "GET") -> tuple[int, str | None, bytes]:
    return ask_at(stand, f"manage.{DOMAIN}:{stand.port}", path, method)


def ask_at(
    stand: Stand, host: str, path: str, method: str = "GET"
) -> tuple[int, str | None, bytes]:
    """Make a call with that Host; the certificate is checked for the management host."""
    manage = f"manage.{DOMAIN}:{stand.port}"
    answer = stand.request(manage, method, path, headers={"Host": host}, source="127.0.0.1")
    return answer.status, answer.headers["Content-Type"], answer.body


def oops(text: str, status: int = 200) -> tuple[int, str, bytes]:
    return status, TEXT, f"Oops! {text}\n".encode()


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


@pytest.mark.parametrize("kind", PROGRAMS)
def test_no_name_is_refused_with_200(tmp_path: Path, need: Callable[[str], str], kind: str) -> None:
    """Test draining and rate limits.

    The status and the exact text, through each engine.
    """
    (tmp_path / "service").mkdir(mode=0o700)
    draining = tmp_path / "service" / "draining"  # as `rps proxy drain` leaves it
    draining.touch()
    limits: dict[str, Any] = {"limits.issues_per_minute": 1}
    with running(tmp_path, kind, need, **limits) as stand:
        text = "This service gives no new tokens for now, please try again later"
        assert ask(stand, "/getlink.cgi") == oops(text, 503)
        assert ask(stand, "/getlink.cgi", "HEAD") == (503, TEXT, b"")
        admin_client.drain(load(None, [f"directory={draining.parent}"]), on=False)
        assert ask(stand, "/getlink.cgi")[0] == 200
        assert ask(stand, "/getlink.cgi") == oops("Too many tokens, please try again later", 429)


def test_a_call_is_answered_at_every_host(stand: Stand) -> None:
    """Test all hosts, except that of a live route: its notebook answers."""
    with stand.notebook() as (session, notebook):
        hosts = [f"manage.{DOMAIN}:{stand.port}", f"manage.{DOMAIN}:1", f"api.{DOMAIN}", DOMAIN, "127.0.0.1",
                 f"[::1]:{stand.port}", "satellite.example"]  # fmt: skip
        for host in (*hosts, stand.issue().host):
            for method, path, start in (
                ("GET", "/getlink.cgi", b"Your token is \n"),
                ("POST", "/getlink.cgi", b"Your token is \n"),
                ("GET", "/redeemtoken.cgi?token=a-b-c&port=5000", b"Oops! Unknown nonce"),
                ("POST", "/update-jobs.cgi", b"Oops! Client (your) IP not in range"),
                ("HEAD", "/linktoken.cgi", b""),
            ):
                status, kind, body = ask_at(stand, host, path, method)
                assert (status, kind) == (200, TEXT), (host, path)
                assert body.startswith(start), (host, path, body)
        for host in hosts:
            assert ask_at(stand, host, "/")[2].startswith(b"Please see documentation "), host
            assert ask_at(stand, host, "/lab")[0] in (404, 421), host
        answer = ask_at(stand, session.host, "/getlink.cgi")
        assert b"GET /getlink.cgi HTTP/1.1" in answer[2]
        assert notebook.requests == ["GET /getlink.cgi HTTP/1.1"]


@pytest.mark.parametrize("kind", PROGRAMS)
def test_its_pages_claim_nothing_of_its_job_and_name_no_command_of_rps(
    tmp_path: Path, need: Callable[[str], str], kind: str
) -> None:
    """Test that its pages claim no running job and name no command of rps."""
    reporters: dict[str, Any] = {"satellite.job_states_from": "[127.0.0.1]"}
    with running(tmp_path, kind, need, **reporters) as stand:

        def page(host: str, status: int) -> str:
            answer = stand.request(host, "GET", "/lab?token=0", headers={"Accept": "text/html"})
            assert answer.status == status, answer.body
            return answer.body.decode()

        name = ask(stand, "/getlink.cgi")[2].decode().split()[-1]
        host = f"{name}.{DOMAIN}:{stand.port}"
        waiting = page(host, 503)
        assert "<code>squeue</code> or <code>qstat</code>" in waiting
        ask(stand, f"/linktoken.cgi?token={name}&jobid=17")
        with Notebook(None, stand.directory) as notebook:
            ask(stand, f"/redeemtoken.cgi?token={name}&port={notebook.port}")
            until(lambda: stand.request(host, "GET", "/").status == 200, "the route")
        manage = f"manage.{DOMAIN}:{stand.port}"
        body = b"jobstates=17 COMPLETED"
        posted = stand.request(manage, "POST", "/update-jobs.cgi", body, source="127.0.0.1")
        assert posted.body == b"Successfully updated jobs! \n"
        silent = page(host, 502)
        assert "Your notebook could not be reached. Its job may have ended." in silent
        ask(stand, f"/destroytoken.cgi?token={name}")
        until(lambda: stand.request(host, "GET", "/lab").status == 410, "its route is out")
        ended = page(host, 410)
        assert "run the command again with which you started this one" in ended
        for text in (waiting, silent, ended):
            assert "<code>rps" not in text
            assert "is running" not in text
        assert "<code>rps list</code>" in page(stand.issue().host, 503)


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
            headers = {"Host": f"manage.{DOMAIN}"}
            client.request("GET", path, headers=headers)
            answer = client.getresponse()
            assert (answer.status, answer.getheader("Content-Type")) == (200, TEXT)
            assert answer.read() == b"M"
        stand.start_engine()
        until(lambda: ask(stand, path) == (200, TEXT, b"PR"), "it is live")
