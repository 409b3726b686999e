"""HTTP through the service: what is passed on, what is not, and what is refused."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stands.malformed import ANSWERS, CHUNKED, CHUNKS, HEADS, HOSTS, LINES, SMUGGLED
from tests.stands.service import DOMAIN, Notebook, Service, Session, read_head, running_service
from tests.stands.waiting import until


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"advanced.connect_timeout": 2}
    with running_service(tmp_path_factory.mktemp("service"), **settings) as service:
        yield service


@pytest.fixture(scope="module")
def ready(service: Service) -> Iterator[tuple[Session, Notebook]]:
    with service.notebook() as both:
        yield both


def headers_of(messages: dict[str, list[list[str]]]) -> dict[str, str]:
    return {name.lower(): value for name, value in messages["headers"]}


def test_the_public_host_and_the_exact_target_are_passed_on(
    service: Service, ready: tuple[Session, Notebook]
) -> None:
    session, _ = ready
    target = "//a/../b%2F%7e;x=1/%00/'\"|?token=a+b%20c&&=%C3%A9?/"
    answer = service.send(
        session.host,
        f"GET {target} HTTP/1.1\r\nHost: {session.host}\r\nConnection: close\r\n\r\n".encode(),
    )
    messages = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert messages["line"] == f"GET {target} HTTP/1.1"
    assert headers_of(messages)["host"] == session.host


def test_the_client_cannot_say_who_it_is(service: Service, ready: tuple[Session, Notebook]) -> None:
    session, _ = ready
    claimed = {
        "Forwarded": "for=evil",
        "X-Forwarded-For": "evil",
        "X-Forwarded-Host": "evil",
        "X-Forwarded-Prefix": "/evil",
        "X-Real-IP": "evil",
    }
    messages = service.request(session.host, "GET", "/", headers=claimed).json()
    assert "evil" not in json.dumps(messages)
    headers = headers_of(messages)
    assert headers["x-forwarded-for"] == headers["x-real-ip"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-forwarded-host"] == session.host
    assert "forwarded" not in headers


def test_hop_by_hop_fields_stay_on_their_hop(
    service: Service, ready: tuple[Session, Notebook]
) -> None:
    session, _ = ready
    sent = {
        "Connection": "keep-alive, X-Mine, Host, Content-Length, X-Forwarded-For",
        "X-Mine": "1",
        "X-Other": "2",
        "Keep-Alive": "5",
        "TE": "trailers",
        "Proxy-Authorization": "Basic x",
        "Upgrade": "h2c",
    }
    answer = service.request(session.host, "POST", "/echo", b"body", sent)
    headers = headers_of(answer.json())
    assert answer.json()["body"] == "body"
    assert headers["x-other"] == "2"
    assert headers["host"] == session.host
    assert headers["x-forwarded-for"] == "127.0.0.1"
    for name in ("connection", "x-mine", "keep-alive", "te", "proxy-authorization", "upgrade"):
        assert name not in headers
    for name in ("Keep-Alive", "X-Private", "Alt-Svc", "Connection"):
        assert name not in answer.headers


def test_cookies_are_for_the_session_alone(
    service: Service, ready: tuple[Session, Notebook]
) -> None:
    session, _ = ready
    answer = service.request(session.host, "GET", "/")
    assert answer.headers.get_all("Set-Cookie") == ["a=1; Path=/; Secure", "b=2"]


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
def test_methods_pass(service: Service, ready: tuple[Session, Notebook], method: str) -> None:
    messages = service.request(ready[0].host, method, "/x").json()
    assert messages["line"] == f"{method} /x HTTP/1.1"


def test_head_has_the_length_and_no_body(service: Service, ready: tuple[Session, Notebook]) -> None:
    answer = service.request(ready[0].host, "HEAD", "/x")
    assert int(answer.headers["Content-Length"]) > 0
    assert answer.body == b""


def test_a_connection_serves_many_requests(
    service: Service, ready: tuple[Session, Notebook]
) -> None:
    session, _ = ready
    with service.connect(session.host) as connection:
        for number in range(5):
            connection.sendall(f"GET /{number} HTTP/1.1\r\nHost: {session.host}\r\n\r\n".encode())
            length = re.search(r"Content-Length: (\d+)", read_head(connection))
            assert length
            body = b""
            while len(body) < int(length[1]):
                body += connection.recv(65536)
            assert json.loads(body)["line"] == f"GET /{number} HTTP/1.1"


def test_an_old_client_gets_an_answer_that_ends_with_the_connection(
    service: Service, ready: tuple[Session, Notebook]
) -> None:
    session, _ = ready
    request = f"GET /bytes/100000 HTTP/1.0\r\nHost: {session.host}\r\n\r\n"
    head, _, body = service.send(session.host, request.encode()).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert len(body) == 100_000


def test_chunked_bodies_pass_in_both_directions(
    service: Service, ready: tuple[Session, Notebook]
) -> None:
    session, _ = ready
    request = (
        f"POST /echo HTTP/1.1\r\nHost: {session.host}\r\nTransfer-Encoding: chunked\r\n"
        "Connection: close\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    )
    answer = service.send(session.host, request.encode())
    messages = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert messages["body"] == "abcdefg"
    assert len(service.request(session.host, "GET", "/bytes/300000").body) == 300_000


def test_a_client_that_waits_for_leave_to_send_gets_it(
    service: Service, ready: tuple[Session, Notebook]
) -> None:
    session, _ = ready
    with service.connect(session.host) as connection:
        connection.sendall(
            f"POST /echo HTTP/1.1\r\nHost: {session.host}\r\nContent-Length: 5\r\n"
            "Expect: 100-continue\r\nConnection: close\r\n\r\n".encode()
        )
        assert read_head(connection).startswith("HTTP/1.1 100 ")
        connection.sendall(b"later")
        assert read_head(connection).startswith("HTTP/1.1 200 ")


def test_an_answer_may_come_before_the_whole_body(
    service: Service, ready: tuple[Session, Notebook]
) -> None:
    session, _ = ready
    request = f"POST /refuse HTTP/1.1\r\nHost: {session.host}\r\nContent-Length: 1000000\r\n\r\n"
    with service.connect(session.host) as connection:
        connection.sendall(request.encode())
        head = read_head(connection)
    assert head.startswith("HTTP/1.1 413 ")
    assert "Connection: close" in head


def test_a_broken_download_does_not_look_whole(
    service: Service, ready: tuple[Session, Notebook]
) -> None:
    session, _ = ready
    request = f"GET /cut HTTP/1.1\r\nHost: {session.host}\r\n\r\n"
    answer = service.send(session.host, request.encode())
    assert answer.endswith(b"\r\n\r\nhalf")
    assert b"Content-Length: 1000\r\n" in answer


def test_a_client_that_leaves_ends_the_transfer(
    service: Service, ready: tuple[Session, Notebook]
) -> None:
    session, notebook = ready
    notebook.broken_off.clear()
    with service.connect(session.host) as connection:
        connection.sendall(f"GET /endless HTTP/1.1\r\nHost: {session.host}\r\n\r\n".encode())
        connection.recv(65536)
    assert notebook.broken_off.wait(20)


def test_half_an_upload_is_not_taken_for_all(
    service: Service, ready: tuple[Session, Notebook]
) -> None:
    session, notebook = ready
    notebook.broken_off.clear()
    with service.connect(session.host) as connection:
        connection.sendall(
            f"PUT /x HTTP/1.1\r\nHost: {session.host}\r\nContent-Length: 1000\r\n\r\nhalf".encode()
        )
        until(lambda: "PUT /x HTTP/1.1" in notebook.requests, "the upload began")
    assert notebook.broken_off.wait(20)


@pytest.mark.parametrize("answer", ANSWERS)
def test_malformed_answers_go_no_further(
    service: Service, ready: tuple[Session, Notebook], answer: bytes
) -> None:
    session, _ = ready
    came = service.request(session.host, "GET", "/raw", headers={"X-Answer": answer.hex()})
    assert came.status == 502
    assert came.headers["Set-Cookie"] is None


@pytest.mark.parametrize("head", HEADS)
def test_what_could_be_read_in_two_ways_is_refused(
    service: Service, ready: tuple[Session, Notebook], head: str
) -> None:
    """Test that none of it reaches the notebook or returns to the client."""
    session, notebook = ready
    before = len(notebook.requests)
    smuggled = f"{head.format(host=session.host)}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"
    answer = service.send(session.host, smuggled.encode("latin-1"))
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"evil" not in answer
    assert session.name.encode() not in answer
    assert notebook.requests[before:] == []


@pytest.mark.parametrize("body", CHUNKS)
def test_nothing_hides_behind_a_chunk(
    service: Service, ready: tuple[Session, Notebook], body: str
) -> None:
    """Test that the rest after a malformed body is not read as a request."""
    session, notebook = ready
    sent = (CHUNKED + body + SMUGGLED).format(host=session.host)
    answer = service.send(session.host, sent.encode())
    assert not any("smuggled" in line for line in notebook.requests)
    assert answer.count(b"HTTP/1.1 200 ") == 0


def test_trailers_go_no_further(service: Service, ready: tuple[Session, Notebook]) -> None:
    session, _ = ready
    request = (
        f"POST /echo HTTP/1.1\r\nHost: {session.host}\r\nTransfer-Encoding: chunked\r\n"
        "Connection: close\r\n\r\n3\r\nabc\r\n0\r\nX-Forwarded-For: evil\r\nHost: evil\r\n\r\n"
    )
    answer = service.send(session.host, request.encode())
    assert b"evil" not in answer


@pytest.mark.parametrize(
    "head",
    LINES,
    ids=["lf", "lf-first", "lf-within", "cr", "long-target", "long-field", "many-fields"],
)
def test_lines_have_one_end_and_heads_a_limit(
    service: Service, ready: tuple[Session, Notebook], head: str
) -> None:
    session, notebook = ready
    before = len(notebook.requests)
    answer = service.send(session.host, head.format(host=session.host).encode())
    assert re.match(rb"HTTP/1\.[01] (400|431) ", answer)
    assert notebook.requests[before:] == []


def test_what_an_engine_says_of_the_caller_is_not_passed_on(
    service: Service, ready: tuple[Session, Notebook]
) -> None:
    session, _ = ready
    said = {"X-Rps-Caller": "192.0.2.1"}
    headers = headers_of(service.request(session.host, "GET", "/", headers=said).json())
    assert "x-rps-caller" not in headers
    assert headers["x-forwarded-for"] == "127.0.0.1"


@pytest.mark.parametrize(("host", "status"), HOSTS)
def test_only_the_very_host_counts(
    service: Service, ready: tuple[Session, Notebook], host: str, status: int
) -> None:
    session, _ = ready
    name = session.name
    text = host.format(name=name, NAME=name.upper(), domain=DOMAIN, port=service.port)
    request = b"GET /lab HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % text.encode()
    answer = service.send(session.host, request)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    if status != 200 and len(text) > 1:
        assert text.encode() not in answer.partition(b"\r\n\r\n")[2]


def test_names_belong_to_their_own_notebook(
    service: Service, ready: tuple[Session, Notebook]
) -> None:
    first, first_notebook = ready
    with service.notebook() as (second, second_notebook):
        for number in range(3):
            service.request(first.host, "GET", f"/first/{number}")
            service.request(second.host, "GET", f"/second/{number}")
        assert not any("second" in line for line in first_notebook.requests)
        assert not any("first" in line for line in second_notebook.requests)
        assert len(second_notebook.requests) == 3


def test_a_server_with_another_certificate_is_never_reached(
    service: Service, tmp_path: Path
) -> None:
    """Test another server on a dead session's port: it gets no request."""
    with service.notebook() as (session, notebook):
        assert service.request(session.host, "GET", "/").status == 200
        port = notebook.port
    other = service.issue()
    with Notebook(service.certificate(other), tmp_path, port) as intruder:
        for _ in range(3):
            answer = service.request(session.host, "POST", "/echo", b"s3cret")
            assert answer.status == 502
        assert intruder.requests == []
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.settimeout(5)
        answered = service.request(session.host, "GET", "/?token=s3cret").status
        assert answered == 502
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(5)
            assert b"s3cret" not in peer.recv(65536)


@pytest.mark.parametrize(("method", "times"), [("GET", 2), ("POST", 1), ("PUT", 1), ("DELETE", 1)])
def test_a_request_that_may_have_counted_is_not_sent_again(
    service: Service, method: str, times: int
) -> None:
    """Test a kept connection that closes as a request comes: only reads are repeated."""
    with service.notebook() as (session, notebook):
        with service.connect(session.host) as connection:
            client = http.client.HTTPConnection("service")
            client.sock = connection
            statuses = []
            for line in (("GET", "/"), (method, "/hangup")):  # the first leaves a connection
                client.request(*line, headers={"Host": session.host})
                response = client.getresponse()
                response.read()
                statuses.append(response.status)
        assert statuses == [200, 502]
        assert notebook.requests[1:] == [f"{method} /hangup HTTP/1.1"] * times


def test_revoking_ends_a_download_that_is_running(service: Service) -> None:
    with service.notebook() as (session, notebook):
        with service.connect(session.host) as connection:
            connection.sendall(f"GET /endless HTTP/1.1\r\nHost: {session.host}\r\n\r\n".encode())
            assert connection.recv(65536)
            service.revoke(session)
            started = time.monotonic()
            with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
                while connection.recv(65536):
                    assert time.monotonic() - started < 20, "it goes on"
        assert notebook.broken_off.wait(20)
        assert service.request(session.host, "GET", "/").status == 410


def test_large_transfers_take_no_memory(service: Service, ready: tuple[Session, Notebook]) -> None:
    session, _ = ready
    service.request(session.host, "GET", "/bytes/1000000")
    before = service.memory()
    size = 250_000_000
    with service.connect(session.host) as connection:
        connection.sendall(
            f"GET /bytes/{size} HTTP/1.1\r\nHost: {session.host}\r\nConnection: close\r\n\r\n".encode()
        )
        time.sleep(1)  # a reader that lets it wait
        came = 0
        highest = 0
        while part := connection.recv(1 << 20):
            came += len(part)
            if came % 32 == 0:
                highest = max(highest, service.memory())
        assert came > size
    part = b"x" * 1_000_000
    with service.connect(session.host) as connection:
        connection.sendall(
            f"PUT /upload HTTP/1.1\r\nHost: {session.host}\r\nContent-Length: {size}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        for number in range(size // len(part)):
            connection.sendall(part)
            if number % 16 == 0:
                highest = max(highest, service.memory())
        answer = b""
        while more := connection.recv(65536):
            answer += more
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["length"] == size
    assert max(highest, service.memory()) - before < 50_000_000


def test_nothing_of_the_requests_is_logged(service: Service) -> None:
    with service.notebook() as (session, _):
        service.request(
            session.host, "GET", "/?token=canary-query", headers={"Cookie": "c=canary-cookie"}
        )
        service.request(f"manage.{DOMAIN}", "GET", "/api/v1/canary-path?canary-query")
        assert session.claim not in service.log()
    service.request(session.host, "GET", "/?token=canary-query")
    assert "canary" not in service.log()
    assert '"level": "error"' not in service.log()
