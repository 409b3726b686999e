"""On any engine: the notebook, a page of the service, or the API answers."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rps_proxy.cli import admin_client as operate
from rps_proxy.settings.loading import load
from tests.engines.stand import PROGRAMS, Carried, Stand, running
from tests.stands.service import DOMAIN, Notebook, Session, read_exactly, read_head, upgrade_request
from tests.stands.waiting import until


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
    for host in (waiting.host, f"no-such-name.{DOMAIN}:{port}", f"manage.{DOMAIN}:{port}"):
        with stand.connect(host) as connection:  # a protocol switch is decided in the same place
            connection.sendall(upgrade_request(host, Origin=f"https://{host}"))
            assert re.search(r" (403|404|503) ", read_head(connection).partition("\r\n")[0])
    with stand.notebook() as (session, notebook):
        answer = stand.request(session.host, "GET", "/.rps/state")
        assert answer.json()["phase"] == "ready"
        assert stand.request(f"{session.name}.{DOMAIN}:1", "GET", "/lab").status == 421
        assert not notebook.requests


def test_a_notebook_that_does_not_answer(stand: Stand) -> None:
    with stand.notebook() as (session, _):
        pass
    answer = stand.request(session.host, "GET", "/api")
    assert (answer.status, answer.body) == (502, b"The notebook does not answer.\n")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    answer = stand.request(session.host, "GET", "/", headers={"Accept": "text/html"})
    assert answer.status == 502
    assert b"<h1>Your notebook does not answer</h1>" in answer.body
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
def test_a_page_of_another_origin_opens_no_websocket(carried: Carried, origin: str) -> None:
    stand, session, notebook = carried
    before = len(notebook.requests)
    with stand.connect(session.host) as connection:
        connection.sendall(upgrade_request(session.host, Origin=origin.format(host=session.host)))
        assert " 403 " in read_head(connection)
    assert notebook.requests[before:] == []


def test_slow_answers_delay_no_other_request(stand: Stand) -> None:
    """More at once than Apache's processes had connections to the routes' file."""
    count = 100
    with stand.notebook() as (session, notebook), ExitStack() as opened:
        for _ in range(count):
            connection = opened.enter_context(stand.connect(session.host))
            connection.sendall(f"GET /events HTTP/1.1\r\nHost: {session.host}\r\n\r\n".encode())
        until(lambda: len(notebook.requests) == count, "all have reached the notebook")
        assert stand.request(session.host, "GET", "/").status == 200
        notebook.seen.release(3 * count)


@pytest.mark.parametrize("ours_first", [True, False])
def test_a_page_of_two_origins_opens_no_websocket(carried: Carried, ours_first: bool) -> None:
    stand, session, notebook = carried
    before = len(notebook.requests)
    ours, evil = f"Origin: https://{session.host}", "Origin: https://evil.example"
    origins = "\r\n".join([ours, evil] if ours_first else [evil, ours])
    opening = upgrade_request(session.host).replace(b"\r\n\r\n", f"\r\n{origins}\r\n\r\n".encode())
    with stand.connect(session.host) as connection:
        connection.sendall(opening)
        assert re.search(r" 40[03] ", read_head(connection))
    assert notebook.requests[before:] == []


def test_only_get_opens_a_websocket(carried: Carried) -> None:
    stand, session, notebook = carried
    before = len(notebook.requests)
    opening = upgrade_request(session.host).replace(b"GET ", b"DELETE ", 1)
    with stand.connect(session.host) as connection:
        connection.sendall(opening)
        head = read_head(connection)
    assert re.match(r"HTTP/1\.1 [45]\d\d ", head), head
    assert notebook.requests[before:] == []


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
        received = [(name.lower(), value) for name, value in answer.json()["headers"]]
        assert ("x-forwarded-for", "127.0.0.7") in received
        assert ("x-forwarded-host", session.host) in received
        assert "9.9.9.9" not in str(received)
        assert not {"x-forwarded-prefix", "proxy-authorization"} & {name for name, _ in received}
        cookies = answer.headers.get_all("Set-Cookie")
        assert cookies is not None
        assert len(cookies) == 2
        assert "domain" not in str(cookies).lower()
        assert answer.headers["Alt-Svc"] is None


@pytest.mark.parametrize(
    ("cookie", "passed"),
    [
        ("a=1;DOMAIN = rps.localhost;domain=x; Secure", ["a=1", "Secure"]),
        ("a=1; Domain; Path=/domain", ["a=1", "Path=/domain"]),
        ("a=1;\tdomain\t=.x", ["a=1"]),
        ("domain=1; Path=/", ["domain=1", "Path=/"]),
        ("a=domain; Domain=x; Domain=y; Domain=z", None),  # HAProxy and Apache give up on it
    ],
)
def test_cookies_are_for_the_sessions_own_host(
    carried: Carried, cookie: str, passed: list[str] | None
) -> None:
    """Test each spelling of Domain; fields that only resemble it stay."""
    stand, session, _ = carried
    raw = f"HTTP/1.1 200 OK\r\nSet-Cookie: {cookie}\r\nContent-Length: 0\r\n\r\n".encode()
    answer = stand.request(session.host, "GET", "/raw", headers={"X-Answer": raw.hex()})
    came = answer.headers["Set-Cookie"]
    parts = [part.strip() for part in came.split(";")] if came else []
    assert parts == (passed or (["a=domain"] if stand.kind == "embedded" else []))


@pytest.mark.parametrize("kind", PROGRAMS)
def test_hsts_is_sent_once_and_by_us(kind: str, tmp_path: Path, need: Callable[[str], str]) -> None:
    with (
        running(tmp_path, kind, need, domain="rps.example.org") as stand,
        stand.notebook() as (session, _),
    ):
        for host in (session.host, f"a-b-c.rps.example.org:{stand.port}"):
            answer = stand.request(host, "GET", "/")
            received = answer.headers.get_all("Strict-Transport-Security")
            assert received == ["max-age=31536000"], host


def test_the_api_hears_the_callers_address(stand: Stand) -> None:
    session = stand.issue()
    with Notebook(stand.certificate(session), stand.directory) as notebook:
        # A route leads to the caller's address: nothing listens at that one.
        assert stand.redeem(session, notebook.port, source="127.0.0.9")[0] == 200
        assert stand.request(session.host, "GET", "/").status == 502
        assert not notebook.requests
        assert '"address": "127.0.0.9"' in stand.log()


CLUSTER = "127.0.0.1"
OUTSIDE = "127.0.0.9"


@pytest.mark.parametrize("kind", PROGRAMS)
def test_the_api_is_not_for_outside_nor_for_session_hosts(
    kind: str, tmp_path: Path, need: Callable[[str], str]
) -> None:
    """Test forged callers; at the API's paths a session's host has its notebook."""
    networks: dict[str, Any] = {"networks.issue": f"[{CLUSTER}]", "networks.redeem": f"[{CLUSTER}]"}
    said = ("X-Rps-Caller", "X_Rps_Caller", "X-Forwarded-For", "X-Real-IP", "Forwarded")
    calls = [("POST", "/api/v1/sessions"), ("GET", "/api/v1/health"), ("GET", "/getlink.cgi")]
    with (
        running(tmp_path, kind, need, **networks) as stand,
        stand.notebook() as (session, notebook),
    ):
        manage = f"manage.{DOMAIN}:{stand.port}"
        for method, path in calls:
            for name in (None, *said):
                forged = {"Connection": f"close, {name}", name: CLUSTER} if name else {}
                answer = stand.request(manage, method, path, b"{}", forged, OUTSIDE)
                if path.endswith(".cgi"):
                    assert b"not in range" in answer.body, (name, answer.body)
                else:
                    assert (answer.status, answer.json()["error"]) == (403, "outside-networks"), (
                        name
                    )
        for method, path in calls:  # from the cluster, at the session's own host
            assert stand.request(session.host, method, path).json()["line"].startswith(method)
        assert notebook.requests == [f"{method} {path} HTTP/1.1" for method, path in calls]


def test_fields_of_one_connection_go_no_further(carried: Carried) -> None:
    stand, session, _ = carried
    forged = {
        "Connection": "close, X-Forwarded-For,x-rps-caller, X-Real-IP , X-Mine, Host, Content-Length, TE",
        "X-Mine": "1",
        "X-Other": "2",
        "TE": "trailers",
        "Keep-Alive": "5",
        "Forwarded": "for=9.9.9.9",
    }
    answer = stand.request(session.host, "POST", "/echo", b"body", forged, source="127.0.0.7")
    received = {name.lower(): value for name, value in answer.json()["headers"]}
    assert answer.json()["body"] == "body"
    assert received["x-forwarded-for"] == received["x-real-ip"] == "127.0.0.7"
    assert (received["host"], received["x-other"]) == (session.host, "2")
    assert not {"x-mine", "te", "keep-alive", "forwarded"} & received.keys()
    assert "mine" not in received.get("connection", "").lower()
    for name in ("X-Private", "Keep-Alive", "Alt-Svc"):
        assert answer.headers[name] is None
    assert "private" not in answer.headers.get("Connection", "").lower()
    # The service refuses a request without a caller.
    assert stand.request(session.host, "GET", "/.rps/state", headers=forged).status == 200


@pytest.mark.parametrize("between", [";", " ", "\t", " ; ", ";,"])
def test_no_list_of_fields_takes_away_what_engines_say_or_judge_by(
    carried: Carried, between: str
) -> None:
    """Test each form: mod_proxy reads blanks and semicolons as commas."""
    stand, session, notebook = carried
    ours = ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")
    listed = between.join(("close", *ours, "X-Rps-Caller", "Host", "Origin", "Sec-Fetch-Site"))
    for connection in (listed, f"{listed};"):
        fields = {"Connection": connection}
        received = stand.request(session.host, "GET", "/a", headers=fields).json()["headers"]
        assert {name.lower() for name in ours} <= {name.lower() for name, _ in received}
        assert stand.request(session.host, "GET", "/.rps/state", headers=fields).status == 200
        before = len(notebook.requests)
        for page in {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"}:
            for named in (connection, *page):
                sent = {**page, "Connection": named}
                assert stand.request(session.host, "POST", "/", b"x", sent).status == 403
        assert notebook.requests[before:] == []


def test_long_lists_of_fields_take_no_memory(carried: Carried) -> None:
    """Test Apache's `edit*`, which needs memory for each match: 50 KB took 730 MB."""
    stand, session, _ = carried
    for listed in ("a;" * 25_000, "host," * 10_000, "a " * 25_000):
        for path in ("/a", "/.rps/state"):
            answer = stand.request(session.host, "GET", path, headers={"Connection": listed})
            assert answer.status in (200, 400)
            assert answer.status == 400 or stand.kind != "apache"
    for process in stand.processes():
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
        assert found
        assert int(found[1]) < 200_000


@pytest.mark.parametrize(
    "attributes",
    [
        "; Domain=D",
        ";domain=D;Path=/",
        "; Domain=D; DOMAIN=D",
        "; domain =D; x; domain= D",
        "; domain; Domain=D",
        3 * "; Domain=D",
        1000 * ";x; Domain=D",
    ],
)
def test_no_cookie_of_a_notebook_is_for_a_domain(carried: Carried, attributes: str) -> None:
    stand, session, _ = carried
    cookies = f"Set-Cookie: a=1{attributes}\r\nSet-Cookie: b=2\r\n".replace("=D", f"={DOMAIN}")
    raw = f"HTTP/1.1 200 OK\r\n{cookies}Content-Length: 0\r\n\r\n"
    came = stand.request(session.host, "GET", "/raw", headers={"X-Answer": raw.encode().hex()})
    assert came.status == 200
    received = came.headers.get_all("Set-Cookie", [])
    # With three Domain attributes HAProxy removes the cookies.
    assert "b=2" in received or (stand.kind == "haproxy" and attributes.count("Domain") > 2)
    assert "domain" not in str(received).lower()


def test_events_come_as_they_are_sent(carried: Carried) -> None:
    stand, session, notebook = carried
    with stand.connect(session.host) as connection, connection.makefile("rb") as stream:
        head = f"GET /events HTTP/1.1\r\nHost: {session.host}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        seen = []
        for line in stream:
            if line.startswith(b"data:"):
                seen.append(line)
                notebook.seen.release()  # before that the notebook says nothing more
        assert seen == [b"data: 0\n", b"data: 1\n", b"data: 2\n"]


def test_the_engine_tells_what_it_carried(carried: Carried) -> None:
    stand, session, _ = carried
    settings = load(None, [f"directory={stand.directory / 'service'}"])

    def metrics() -> dict[str, float]:
        text = operate.ask(settings, "GET", "/metrics")
        assert text
        return {
            line.split()[0]: float(line.split()[1])
            for line in text.splitlines()
            if line.startswith(("rps_open_websockets", "rps_bytes_total"))
        }

    before = metrics()
    with stand.connect(session.host) as websocket:
        websocket.sendall(upgrade_request(session.host))
        assert " 101 " in read_head(websocket)
        websocket.sendall(bytes.fromhex("82fe271000000000") + bytes(10_000))
        assert len(read_exactly(websocket, 10_008)) == 10_008
        until(
            lambda: metrics()["rps_open_websockets"] == before["rps_open_websockets"] + 1,
            "it is open",
        )
    until(lambda: metrics()["rps_open_websockets"] == before["rps_open_websockets"], "it is closed")

    def counted() -> bool:
        counters = [f'rps_bytes_total{{direction="{way}"}}' for way in ("in", "out")]
        return all(metrics()[counter] - before[counter] >= 10_008 for counter in counters)

    until(counted, "what it carried is counted")


def curl(stand: Stand, session: Session, *arguments: str | Path, curl: str) -> str:
    """Run curl, which verifies the certificate; meanwhile the session is renewed."""
    name = session.host.partition(":")[0]
    command: list[str | Path] = [curl, "-sS", "--cacert", stand.directory / "ca" / "ca.pem"]
    command += ["--resolve", f"{name}:{stand.port}:127.0.0.1", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while True:
            try:
                said, _ = process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                assert stand.renew(session) == 200
            else:
                assert process.returncode == 0
                return said


def test_http2(carried: Carried, need: Callable[[str], str]) -> None:
    stand, session, notebook = carried
    before = len(notebook.requests)
    said = curl(
        stand, session, "--http2", "-o", "/dev/null", "-w", "%{http_version} %{response_code}",
        "--data-binary", "x" * 100_000, f"https://{session.host}/count?a=b%2F", curl=need("curl"),
    )  # fmt: skip
    assert said == ("1.1 200" if stand.kind == "embedded" else "2 200")
    assert notebook.requests[before:] == ["POST /count?a=b%2F HTTP/1.1"]


def test_a_large_file_is_not_held_in_memory(
    carried: Carried, tmp_path: Path, need: Callable[[str], str]
) -> None:
    stand, session, _ = carried
    file = tmp_path / "zeros"
    with file.open("wb") as zeros:
        zeros.truncate(256 << 20)  # takes no room on the disk

    def memory(field: str) -> int:
        """Kilobytes of the service, the engine and all their processes."""
        found = 0
        for pid in stand.processes():
            status = Path(f"/proc/{pid}/status").read_text()
            found += int(re.findall(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)[0])
        return found

    for pid in stand.processes():
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # VmHWM counts from now on
    before = memory("VmRSS")
    said = curl(stand, session, "-T", file, f"https://{session.host}/count", curl=need("curl"))
    assert json.loads(said)["length"] == 256 << 20
    assert memory("VmHWM") - before < 64 * 1024
