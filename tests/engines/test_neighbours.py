"""On any engine a session can do nothing to the visitor's other sessions."""

from __future__ import annotations

import hashlib
from base64 import b64encode

import pytest

from tests.engines.stand import Carried, Stand
from tests.stands.service import DOMAIN, Notebook, Session, read_head, upgrade_request
from tests.stands.waiting import until

BEYOND = (
    "Alt-Svc",
    "Clear-Site-Data",
    "NEL",
    "Origin-Agent-Cluster",
    "Report-To",
    "Reporting-Endpoints",
    "Strict-Transport-Security",
    "X-Accel-Redirect",
    "X-Sendfile",
)
REACHING = "".join(f"{name}: x\r\n{name.lower()}: y\r\n" for name in BEYOND)
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b64encode(
    hashlib.sha1(
        f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode(), usedforsecurity=False
    ).digest()
).decode()


def reaching(head: str) -> list[str]:
    """Return the fields of a head that reach beyond a notebook's own host."""
    names = [line.partition(":")[0].lower() for line in head.split("\r\n")]
    return [name for name in BEYOND if name.lower() in names]


@pytest.mark.parametrize("status", ["200 OK", "304 Not Modified", "404 Not Found", "500 Oh"])
def test_an_answer_reaches_no_further_than_its_host(carried: Carried, status: str) -> None:
    stand, session, _ = carried
    kept = "X-Mine: 1\r\nService-Worker-Allowed: /\r\nContent-Length: 0\r\n"
    raw = f"HTTP/1.1 {status}\r\n{REACHING}{kept}\r\n"
    answer = stand.request(session.host, "GET", "/raw", headers={"X-Answer": raw.encode().hex()})
    assert (answer.status, answer.headers["X-Mine"]) == (int(status[:3]), "1")
    assert answer.headers["Service-Worker-Allowed"] == "/"
    assert reaching(str(answer.headers).replace("\n", "\r\n")) == []


def test_nor_does_the_opening_of_a_websocket(carried: Carried) -> None:
    stand, session, _ = carried
    raw = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {ACCEPT}\r\n{REACHING}\r\n"
    )
    fields = {"Sec-WebSocket-Key": KEY, "X-Answer": raw.encode().hex()}
    request = upgrade_request(session.host, **fields).replace(b"/ws", b"/raw", 1)
    with stand.connect(session.host) as connection:
        connection.sendall(request)
        head = read_head(connection)
    assert " 101 " in head
    assert reaching(head) == []


def test_nor_do_interim_answers_and_trailers(carried: Carried) -> None:
    """Test interim answers and trailers: only HAProxy passes them on.

    Browsers ignore them.
    """
    stand, session, _ = carried
    raw = (
        f"HTTP/1.1 103 Early Hints\r\n{REACHING}\r\n"
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
        f"0\r\n{REACHING}\r\n"
    )
    request = f"GET /raw HTTP/1.1\r\nHost: {session.host}\r\nX-Answer: {raw.encode().hex()}\r\n\r\n"
    answer = stand.send(session.host, request.encode(), patience=1).decode()
    assert " 200 " in answer
    assert bool(reaching(answer)) == (stand.kind == "haproxy")


@pytest.mark.parametrize("place", ["acme-challenge", "pki-validation"])
def test_no_notebook_proves_to_own_its_name(carried: Carried, place: str) -> None:
    stand, session, notebook = carried
    before = len(notebook.requests)
    for path in (f"/.well-known/{place}/token", f"/.well-known/{place}/token?x=1"):
        assert stand.request(session.host, "GET", path).status == 404
    assert notebook.requests[before:] == []
    assert stand.request(session.host, "GET", "/.well-known/other").status == 200
    waiting = stand.issue()
    assert stand.request(waiting.host, "GET", f"/.well-known/{place}/token").status == 404


OWN, EVIL, SIBLING = "https://{host}", "https://evil.example", "https://a-b-c.{domain}:{port}"
PASSED: dict[str, tuple[dict[str, str], ...]] = {
    "a program": ({},),
    "a page of its own": (
        {"Origin": OWN},
        {"Origin": OWN, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "null", "Sec-Fetch-Site": "same-origin"},  # one without referrers
    ),
    "a program with its token": (
        {"Origin": EVIL, "Authorization": "token 0123"},
        {"Origin": "vscode-file://vscode-app", "Authorization": "Bearer 0123"},
        {"Origin": "http://{host}", "Authorization": "TOKEN  0123"},
        {"Origin": "null", "Authorization": "token 0123"},
    ),
}
REFUSED: tuple[dict[str, str], ...] = (
    {"Origin": EVIL},
    {"Origin": SIBLING},
    {"Origin": SIBLING, "Sec-Fetch-Site": "same-site"},
    {"Origin": "null"},
    {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://{host}"},
    {"Origin": "https://{host}.evil.example"},
    {"Origin": "https://manage.{domain}:{port}"},
    {"Origin": "https://{host}, https://evil.example"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Origin": EVIL, "Authorization": "Basic dG9rZW46"},  # browsers add it by themselves
    {"Origin": EVIL, "Authorization": "token"},
    {"Origin": EVIL, "Authorization": "x token 0123"},
    {"Origin": EVIL, "Cookie": "a=1", "X-Authorization": "token 0123"},
)


def said(stand: Stand, session: Session, fields: dict[str, str]) -> dict[str, str]:
    return {
        name: value.format(host=session.host, domain=DOMAIN, port=stand.port)
        for name, value in fields.items()
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("who", PASSED)
def test_what_changes_something_is_for_pages_of_its_own_and_programs(
    carried: Carried, method: str, who: str
) -> None:
    stand, session, _ = carried
    for fields in PASSED[who]:
        body = None if method == "DELETE" else b"x"
        sent = said(stand, session, fields)
        answer = stand.request(session.host, method, "/api/shutdown", body, sent)
        assert answer.status == 200, fields
        assert answer.json()["line"] == f"{method} /api/shutdown HTTP/1.1"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "PROPFIND"])
def test_what_another_page_would_change_is_refused(carried: Carried, method: str) -> None:
    """Test refusals: a page for browsers, one line for programs.

    `?token=` is no proof.
    """
    stand, session, notebook = carried
    before = len(notebook.requests)
    for fields in REFUSED:
        sent = said(stand, session, fields)
        for path in ("/api/shutdown", "/api/shutdown?token=0123"):
            answer = stand.request(session.host, method, path, b"x", sent)
            assert answer.status == 403, fields
            assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert b"Authorization: token" in answer.body
            assert b"evil" not in answer.body
    page = stand.request(
        session.host, method, "/", b"x", {"Origin": EVIL, "Accept": "text/html,*/*;q=0.8"}
    )
    assert (page.status, b"notebook.origins" in page.body) == (403, True)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert notebook.requests[before:] == []


def test_the_same_holds_for_websockets(carried: Carried) -> None:
    stand, session, notebook = carried
    before = len(notebook.requests)
    for fields in REFUSED:
        with stand.connect(session.host) as connection:
            connection.sendall(upgrade_request(session.host, **said(stand, session, fields)))
            assert " 403 " in read_head(connection), fields
    assert notebook.requests[before:] == []
    for fields in (each for group in PASSED.values() for each in group):
        with stand.connect(session.host) as connection:
            connection.sendall(upgrade_request(session.host, **said(stand, session, fields)))
            assert " 101 " in read_head(connection), fields


def test_two_origins_and_foreign_reads(carried: Carried) -> None:
    stand, session, notebook = carried
    before = len(notebook.requests)
    for origins in (f"https://{session.host}", EVIL), (EVIL, f"https://{session.host}"):
        head = "".join(f"Origin: {origin}\r\n" for origin in origins)
        request = f"POST / HTTP/1.1\r\nHost: {session.host}\r\n{head}Content-Length: 0\r\n\r\n"
        assert b" 403 " in stand.send(session.host, request.encode(), patience=1)[:20]
    assert notebook.requests[before:] == []
    for method in ("GET", "HEAD", "OPTIONS"):  # the notebook decides who may read the answer
        sent = {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"}
        assert stand.request(session.host, method, "/", headers=sent).status == 200


def test_refusals_are_logged_but_not_each(stand: Stand) -> None:
    with stand.notebook() as (session, _):
        for _ in range(20):
            stand.request(session.host, "POST", "/", b"", {"Origin": "vscode-file://vscode-app"})

        def lines() -> list[str]:
            log = stand.engine_log() if stand.kind == "haproxy" else stand.log()
            return [line for line in log.splitlines() if "foreign-page" in line]

        until(lambda: bool(lines()), "it is logged")
        assert len(lines()) <= 2  # one for each worker
        assert all(session.name in line and "vscode-file" in line for line in lines())


def test_pages_of_an_origin_that_is_named_may(stand: Stand) -> None:
    """Test that it is stored with the session, over a restart of the service."""
    named = ["https://dashboard.example.org", "http://localhost:3000", "https://plain"]
    session = stand.issue()
    with Notebook(stand.certificate(session), stand.directory) as notebook:
        assert stand.redeem(session, notebook.port, body={"origins": named})[0] == 200
        for restarted in (False, True):
            if restarted:
                stand.kill()
                stand.start()
                stand.in_step(2)
            for origin, status in (
                *((origin, 200) for origin in (f"https://{session.host}", *named)),
                ("HTTPS://Dashboard.example.org", 200),
                (f"https://a-b-c.{DOMAIN}", 403),
                ("https://dashboard.example.or", 403),
                ("https://dashboard.example.org.evil.example", 403),
                ("https://dashboard.example.org|http://localhost:3000", 403),
                ("http://localhost", 403),
            ):
                sent = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
                answer = stand.request(session.host, "POST", "/", b"x", sent)
                assert answer.status == status, origin
                with stand.connect(session.host) as connection:
                    connection.sendall(upgrade_request(session.host, **sent))
                    switched = "101" if status == 200 else "403"
                    assert f" {switched} " in read_head(connection), origin


def test_too_many_cookies_are_answered(carried: Carried) -> None:
    """Test the line of text, and the page that removes cookies with what it loads."""
    stand, session, notebook = carried
    waiting = stand.issue()
    bomb = {"Cookie": "; ".join(f"bomb{n}={'x' * 4085}" for n in range(20))}
    before = len(notebook.requests)
    for host in (session.host, waiting.host):
        for method in ("GET", "POST"):
            answer = stand.request(host, method, "/", headers=bomb)
            assert answer.status == 431
            assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert b"cookies" in answer.body
        page = stand.request(host, "GET", "/", headers={**bomb, "Accept": "text/html"})
        assert (page.status, b"Max-Age=0" in page.body) == (431, True)
        assert "script-src 'sha256-" in page.headers["Content-Security-Policy"]
        assert stand.request(host, "GET", "/.rps/page.css", headers=bomb).status == 200
    with stand.connect(session.host) as connection:
        connection.sendall(upgrade_request(session.host, **bomb))
        assert " 431 " in read_head(connection)
    assert notebook.requests[before:] == []
    manage = f"manage.{DOMAIN}:{stand.port}"
    assert stand.request(manage, "GET", "/api/v1/health", headers=bomb).status == 431
    fits = {"Cookie": "; ".join(f"large{n}={'x' * 4085}" for n in range(13))}
    assert stand.request(session.host, "GET", "/", headers=fits).status == 200


def test_a_program_gets_no_page_of_ours_for_an_error(carried: Carried) -> None:
    """Test messages that are not HTTP.

    HAProxy and Apache answer before any rule of ours.
    """
    stand, session, _ = carried
    if stand.kind != "apache":
        request = upgrade_request(session.host).replace(b"GET", b"POST", 1)
        answer = stand.send(session.host, request, patience=1)
        assert b" 400 " in answer[:20]
        assert b"text/plain" in answer
        assert b"<" not in answer
    assert stand.request(session.host, "GET", "/hangup").body == b"The notebook does not answer.\n"
