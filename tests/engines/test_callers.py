"""The caller of a request is the connection's; no body can forge one.

The attack: a request announces a body, is answered without it, and ends without having sent it, as HTTP/2
allows. If the connection behind the engine is reused, its next request is read as that body, and the body of
that one as a request, in which an outsider writes what only the engine may write.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rps_proxy.http.proxy_protocol import header
from tests.engines.http2 import DATA, END_STREAM, Client
from tests.engines.stand import Carried, Stand, behind, running
from tests.stands.service import DOMAIN, read_head
from tests.stands.waiting import PATIENCE

LOGIN, OUTSIDE = "192.0.2.7", "127.0.0.9"
CLUSTER: dict[str, Any] = {"networks.issue": f"[{LOGIN}]", "networks.redeem": f"[{LOGIN}]"}
ANNOUNCED = 500  # bytes; longer than the header that is read as a body
# HAProxy's way to the service until 28 November 2026.
FORMER = """    http-request set-header X-Rps-Caller %[src]
    server service unix@{socket}
"""
REFUSED = [  # answered before the body is read
    ("/api/v1/sessions", "POST"),
    ("/api/v1/nothing", "POST"),
    ("/api/v1/health", "PUT"),
    ("/update-jobs.cgi", "POST"),
    ("/redeemtoken.cgi?token=a-b-c&port=5000", "POST"),
    ("/", "POST"),
]


def as_login_node(host: str) -> bytes:
    """Return a body that is a login node's request, after lines that HTTP ignores."""
    request = (
        f"POST /api/v1/sessions HTTP/1.1\r\nHost: {host}\r\nX-Rps-Caller: {LOGIN}\r\n"
        "Content-Length: 2\r\n\r\n{}"
    )
    return b"\r\n" * 300 + request.encode()


def smuggle(stand: Stand, host: str, path: str, method: str, body: bytes) -> bytes:
    """Announce a body and end without it.

    Return the answer to the next request with it.
    """
    with Client(stand, host, OUTSIDE) as client:
        fields = {":method": method, ":scheme": "https", ":authority": host, ":path": path}
        client.send_request({**fields, "content-length": str(ANNOUNCED)}, stream=1)
        first = end_unsent(stand, client)
        assert first or stand.kind == "apache"  # the service answered without the body
        client.send_request({**fields, "content-length": str(len(body))}, body, stream=3)
        return client.answer(3)


def end_unsent(stand: Stand, client: Client) -> bytes:
    """End the first stream without its body: HAProxy answers before.

    Apache waits for it.
    """
    if stand.kind == "haproxy":
        answer = client.answer(1)
        client.send(DATA, END_STREAM, b"")
        return answer
    client.send(DATA, END_STREAM, b"")
    return client.answer(1)


@pytest.fixture(scope="module", params=["haproxy", "apache"])
def guarded(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    need: Callable[[str], str],
) -> Iterator[Stand]:
    """Run an engine with HTTP/2 before a service that issues names to one login node."""
    directory = tmp_path_factory.mktemp("guarded")
    with running(directory, request.param, need, **CLUSTER) as stand:
        yield stand


@pytest.mark.parametrize(("path", "method"), REFUSED)
def test_a_body_that_never_came_makes_no_request_of_the_next(
    guarded: Stand, path: str, method: str
) -> None:
    manage = f"manage.{DOMAIN}:{guarded.port}"
    for host in (manage, f"a-b-c.{DOMAIN}:{guarded.port}"):
        for _ in range(3):
            answer = smuggle(guarded, host, path, method, as_login_node(manage))
            assert b"claim" not in answer
            assert b"Your token" not in answer
    assert '"issue"' not in guarded.log()


async def test_the_attack_worked_with_the_former_configuration(
    tmp_path: Path, need: Callable[[str], str]
) -> None:
    """Test the attack on the former configuration: the test above can fail."""
    seen: list[tuple[str, str | None]] = []

    async def former(request: web.BaseRequest) -> web.Response:
        seen.append((request.method, request.headers.get("X-Rps-Caller")))
        return web.json_response({}, status=404)

    with running(tmp_path, "haproxy", need) as stand:
        socket = stand.meeting / "service.sock"
        stand.kill_engine()
        stand.kill()
        config = stand.meeting / "haproxy.cfg"
        notebooks, behind_it = config.read_text().split("defaults behind from common")
        for line in ("    http-reuse never\n", "    option http-server-close\n"):
            behind_it = behind_it.replace(line, "")
        line = f"    server service unix@{socket} send-proxy-v2\n"
        assert line in behind_it
        behind_it = behind_it.replace(line, FORMER.format(socket=socket))
        config.write_text(f"{notebooks}defaults behind from common{behind_it}")
        socket.unlink()
        # By default aiohttp closes a connection 10 s after an answer whose request's body is not whole.
        runner = web.ServerRunner(web.Server(former, lingering_time=PATIENCE))
        await runner.setup()
        await web.UnixSite(runner, str(socket)).start()
        try:
            await asyncio.to_thread(stand.start_engine)
            manage = f"manage.{DOMAIN}:{stand.port}"
            path, method = REFUSED[0]
            body = as_login_node(manage)
            await asyncio.to_thread(smuggle, stand, manage, path, method, body)
        finally:
            await runner.cleanup()
    assert ("POST", LOGIN) in seen


def test_requests_are_answered_beside_bodies_that_are_not_read(guarded: Stand) -> None:
    """Test that a refused call's body does not break others.

    One in seven was answered 400.
    """
    manage = f"manage.{DOMAIN}:{guarded.port}"
    fields = {":method": "POST", ":scheme": "https", ":authority": manage}
    with Client(guarded, manage, OUTSIDE) as client:
        for stream in range(1, 81, 2):
            path = {":path": REFUSED[stream % 3][0]}
            client.send_request({**fields, **path, "content-length": "9"}, b"x" * 9, stream)
            message = json.loads(client.answer(stream))
            assert message["error"] == "outside-networks"


def test_one_connection_behind_an_engine_carries_one_request(guarded: Stand) -> None:
    """Test an engine that would send another one, as configured by hand."""
    ask = f"GET /api/v1/health HTTP/1.1\r\nHost: manage.{DOMAIN}:{guarded.port}\r\n{{}}\r\n"
    field = "".join(f"{k}: {v}\r\n" for k, v in guarded.caller("127.0.0.1").items())
    with closing(guarded.behind(20)) as client:
        assert client.sock
        client.sock.sendall(2 * ask.format(field).encode())
        answers = b""
        while part := client.sock.recv(65536):
            answers += part
    assert re.findall(rb"HTTP/1\.1 (\d+)", answers) == [b"403"]
    assert b"\r\nConnection: close\r\n" in answers


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"X-Rps-Caller: 127.0.0.1",
        b"PROXY TCP4 127.0.0.1 127.0.0.1 1 1\r\n",
        header("127.0.0.1").replace(b"QUIT", b"QUIX"),
        header("127.0.0.1").replace(b"\x21\x11", b"\x20\x11"),  # LOCAL: no client's
        header("127.0.0.1").replace(b"\x21\x11", b"\x21\x31"),  # a Unix socket
        header("127.0.0.1").replace(b"\x11\x00\x0c", b"\x11\x00\x04"),  # too short for two
    ],
)
def test_who_does_not_say_whose_a_connection_is_gets_no_answer(
    first: bytes, tmp_path: Path, need: Callable[[str], str]
) -> None:
    with running(tmp_path, "haproxy", need) as stand:
        path = stand.meeting / "service.sock"
        ask = f"GET /api/v1/health HTTP/1.1\r\nHost: manage.{DOMAIN}\r\nX-Rps-Caller: 127.0.0.1\r\n\r\n"
        with closing(behind(path, 20, proxied=False)) as client:
            assert client.sock
            client.sock.sendall(first + ask.encode())
            assert client.sock.recv(100) == b""
        with closing(behind(path, 20, "2001:db8::7")) as client:  # an address of IPv6 is one
            client.request("GET", "/api/v1/health", headers={"Host": f"manage.{DOMAIN}"})
            assert json.loads(client.getresponse().read())["error"] == "outside-networks"


def test_no_client_shifts_the_requests_of_a_sessions_owner(carried: Carried) -> None:
    """Test an outsider who knows the name.

    The notebook answers early and keeps the connection.
    """
    stand, session, notebook = carried
    before = len(notebook.requests)
    early = f"POST /early HTTP/1.1\r\nHost: {session.host}\r\nContent-Length: {ANNOUNCED}\r\n\r\n"
    with ExitStack() as stack:
        owner = http.client.HTTPConnection("service")
        owner.sock = stack.enter_context(stand.connect(session.host))
        for number in range(6):
            outsider = stack.enter_context(stand.connect(session.host, OUTSIDE))
            outsider.sendall(early.encode() + b"x" * 10)  # and not the rest
            if stand.kind == "apache":
                outsider.close()  # it waits for the body
            elif stand.kind == "embedded":
                assert " 403 " in read_head(outsider)
            else:  # HAProxy may lose an early answer to the reset that follows it (docs/operators.md)
                with suppress(OSError):
                    outsider.recv(1)
            if stand.kind != "embedded":
                fields = {":scheme": "https", ":authority": session.host}
                announced = {":path": "/early", "content-length": str(ANNOUNCED)}
                client = stack.enter_context(Client(stand, session.host, OUTSIDE))
                client.send_request({":method": "POST", **fields, **announced})
                client.send(DATA, 0, b"x" * 10)
                with suppress(AssertionError, OSError):  # as above; then the connection ends, too
                    end_unsent(stand, client)
                client = stack.enter_context(Client(stand, session.host))
                client.send_request({":method": "GET", **fields, ":path": f"/{number}"}, b"")
                assert json.loads(client.answer(1))["line"] == f"GET /{number} HTTP/1.1"
            owner.request("GET", f"/{number}", headers={"Host": session.host})
            assert json.loads(owner.getresponse().read())["line"] == f"GET /{number} HTTP/1.1"
    ours = [line for line in notebook.requests[before:] if "/early" not in line]
    assert {line.partition("/")[0] for line in ours} == {"GET "}
