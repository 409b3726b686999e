"""Slow clients: what they occupy ends, and other clients are not affected."""

from __future__ import annotations

import re
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any, TypeAlias

import pytest

from rps_proxy.cli import admin_client as operate
from rps_proxy.settings.loading import load
from tests.engines.http2 import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    SETTINGS,
    STATUS_200,
    Client,
    block,
)
from tests.engines.stand import PROGRAMS, Carried, Stand, running
from tests.stands.service import COMMAND, DOMAIN, Service, read_exactly, read_head, upgrade_request
from tests.stands.waiting import until

SHORT = {
    "advanced.hello_time": 1,
    "advanced.head_time": 1,
    "advanced.call_time": 1,
    "clients.stall_time": 0.5,
    "satellite.job_states_from": "[127.0.0.1]",
}
PATIENCE = 30  # seconds; far more than any of these, and less than what they are by default
OTHER = "127.0.0.2"
PING, CONTINUATION = 6, 9
FrameOf: TypeAlias = tuple[int, int, bytes, int]  # kind, flags, content, stream
NO_WINDOW = struct.pack("!HI", 4, 0)  # SETTINGS_INITIAL_WINDOW_SIZE


@pytest.fixture(scope="module", params=PROGRAMS)
def strict(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    need: Callable[[str], str],
) -> Iterator[Stand]:
    """Yield a service that waits for no client for long."""
    settings: dict[str, Any] = {**SHORT, "lease.length": 3600}
    with running(tmp_path_factory.mktemp("strict"), request.param, need, **settings) as stand:
        yield stand


def ends(connection: socket.socket) -> bytes:
    """Wait until the other side closes; return what it sent before."""
    connection.settimeout(PATIENCE)
    received = b""
    with suppress(ConnectionError, ssl.SSLError):
        while part := connection.recv(65536):
            received += part
    return received


def test_a_connection_without_a_hello_ends(strict: Stand) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01"  # the beginning of one
    # Apache lets the kernel keep a connection that has sent nothing (TCP_DEFER_ACCEPT), for a minute.
    for sent in [hello] if strict.kind == "apache" else [b"", hello]:
        with strict.plain_connection() as connection:
            connection.sendall(sent)
            ends(connection)


def test_a_head_that_never_ends_ends_its_connection(strict: Stand) -> None:
    host = f"manage.{DOMAIN}:{strict.port}"
    for sent in (b"", b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\nX: "):
        with strict.connect(host) as connection:
            connection.sendall(sent)
            answer = ends(connection)
            assert not answer or b" 408 " in answer or b" 400 " in answer


@pytest.mark.parametrize(
    ("path", "framing"),
    [
        ("/api/v1/sessions", "Content-Length: 100"),
        ("/api/v1/sessions", "Transfer-Encoding: chunked"),
        ("/api/v1/sessions/a-b-c/redeem", "Content-Length: 100"),
        ("/update-jobs.cgi", "Transfer-Encoding: chunked"),
    ],
)
def test_a_calls_body_that_never_ends_ends_it(strict: Stand, path: str, framing: str) -> None:
    host = f"manage.{DOMAIN}:{strict.port}"
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{framing}\r\n\r\n"
    with strict.connect(host) as connection:
        connection.sendall(head.encode() + b"1\r\n{")
        answer = ends(connection)
        assert answer.startswith(b"HTTP/1.1 "), answer
    assert strict.call("GET", "health")[0] == 200


def test_an_upload_that_stalls_ends(strict: Stand) -> None:
    with strict.notebook() as (session, notebook), strict.connect(session.host) as connection:
        head = f"POST /echo HTTP/1.1\r\nHost: {session.host}\r\nContent-Length: 1000000\r\n\r\n"
        connection.sendall(head.encode() + bytes(100_000))
        ends(connection)
        assert notebook.broken_off.wait(PATIENCE)


def test_a_download_that_nothing_is_read_of_ends(strict: Stand) -> None:
    with strict.notebook() as (session, notebook), strict.connect(session.host) as connection:
        connection.sendall(f"GET /endless HTTP/1.1\r\nHost: {session.host}\r\n\r\n".encode())
        assert notebook.broken_off.wait(PATIENCE)


# The embedded engine offers no HTTP/2.
@pytest.mark.parametrize("strict", ["haproxy", "apache"], indirect=True)
def test_a_stream_without_a_window_ends(strict: Stand) -> None:
    with strict.notebook() as (session, notebook), Client(strict, session.host) as client:
        client.send(SETTINGS, 0, NO_WINDOW, stream=0)
        head = {":method": "GET", ":scheme": "https", ":authority": session.host}
        for stream in (1, 3):
            request = block({**head, ":path": "/endless"})
            client.send(HEADERS, END_HEADERS | END_STREAM, request, stream)
        assert notebook.broken_off.wait(PATIENCE)


def test_what_waits_for_the_notebook_goes_on(strict: Stand) -> None:
    """A cell that computes, a websocket and a stream of events with nothing to say."""
    longer = 3
    with strict.notebook() as (session, notebook), ExitStack() as stack:
        host = session.host
        websocket = stack.enter_context(strict.connect(host))
        websocket.sendall(upgrade_request(host))
        assert " 101 " in read_head(websocket)
        events = stack.enter_context(strict.connect(host))
        events.sendall(f"GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert b"data: 0" in receive_until(events, b"data: 0")
        for method in ("GET", "POST"):
            answer = strict.request(
                host, method, f"/later/{longer}", b"x" if method == "POST" else None
            )
            assert answer.status == 200
        notebook.seen.release()
        assert b"data: 1" in receive_until(events, b"data: 1")
        frame = bytes.fromhex("818100000000") + b"x"
        websocket.sendall(frame)
        assert read_exactly(websocket, len(frame)) == frame


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_transfer_that_pauses_goes_on(
    kind: str, tmp_path: Path, need: Callable[[str], str]
) -> None:
    """Test a pause longer than `head_time` and shorter than `stall_time`.

    In both directions.
    """
    settings: dict[str, Any] = {key: SHORT[key] for key in SHORT if key != "clients.stall_time"}
    size, paused = 10_000_000, Event()
    with (
        running(tmp_path, kind, need, **settings) as stand,
        stand.notebook() as (session, _),
        stand.connect(session.host) as upload,
        stand.connect(session.host) as download,
    ):
        head = f"POST /count HTTP/1.1\r\nHost: {session.host}\r\nContent-Length: {size}\r\n\r\n"
        upload.sendall(head.encode() + bytes(1000))
        download.sendall(f"GET /bytes/{size} HTTP/1.1\r\nHost: {session.host}\r\n\r\n".encode())
        assert " 200 " in read_head(download)
        paused.wait(4)
        left = size
        while left > 0:  # chunks make it some more
            left -= len(download.recv(65536)) or pytest.fail("the download was cut")
        upload.sendall(bytes(size - 1000))
        assert " 200 " in read_head(upload)


def receive_until(connection: socket.socket, wanted: bytes) -> bytes:
    """Return what comes up to `wanted`."""
    received = b""
    while wanted not in received:
        part = connection.recv(4096)
        assert part, received
        received += part
    return received


@contextmanager
def held(stand: Stand, number: int, source: str = "127.0.0.1") -> Iterator[None]:
    """Hold this many idle TCP connections."""
    with ExitStack() as stack:
        for _ in range(number):
            with suppress(ConnectionError):  # refused
                stack.enter_context(stand.plain_connection(source))
        yield


def resets(host: str) -> Iterator[FrameOf]:
    """Send requests and reset them at once (CVE-2023-44487)."""
    head = {":method": "GET", ":scheme": "https", ":authority": host, ":path": "/"}
    request = block(head)
    for stream in range(1, 10_000, 2):
        yield HEADERS, END_HEADERS | END_STREAM, request, stream
        yield RST_STREAM, 0, bytes(4), stream


def continuations(host: str) -> Iterator[FrameOf]:
    """Send a header of 32 MB in CONTINUATION frames."""
    head = {":method": "GET", ":scheme": "https", ":authority": host, ":path": "/"}
    yield HEADERS, END_STREAM, block(head), 1
    for number in range(2000):
        yield CONTINUATION, 0, block({f"x-{number}": "x" * 16_000}), 1


def settings(_host: str) -> Iterator[FrameOf]:
    """Send SETTINGS without reading any acknowledgement."""
    for _ in range(20_000):
        yield SETTINGS, 0, b"", 0


def pings(_host: str) -> Iterator[FrameOf]:
    """Send PINGs without reading any answer."""
    for _ in range(20_000):
        yield PING, 0, bytes(8), 0


# The embedded engine offers no HTTP/2.
@pytest.mark.parametrize("carried", ["haproxy", "apache"], indirect=True)
@pytest.mark.parametrize("flood", [resets, continuations, settings, pings])
def test_a_flood_of_frames_costs_no_other(
    carried: Carried, flood: Callable[[str], Iterator[FrameOf]]
) -> None:
    stand, session, _ = carried
    before = memory(stand)
    waits = stand.issue().host
    with ExitStack() as stack:
        for _ in range(4):
            client = stack.enter_context(Client(stand, waits, OTHER))
            client.connection.settimeout(1)
            with suppress(OSError):  # it reads no more, or has closed
                for frame in flood(waits):
                    client.send(*frame)
        assert stand.request(session.host, "GET", "/").status == 200
        assert memory(stand) - before < 64 * 1024**2


@pytest.mark.parametrize("carried", ["haproxy", "apache"], indirect=True)
def test_requests_taken_back_leave_the_service_to_others(carried: Carried) -> None:
    """Test cancelled requests.

    Without HAProxy's count by address, half the calls got 503.
    """
    stand, _, _ = carried
    waits = stand.issue().host
    done = Event()

    def attack() -> None:
        while not done.is_set():
            with suppress(OSError), Client(stand, waits, OTHER) as client:
                client.connection.settimeout(1)
                for frame in resets(waits):
                    client.send(*frame)
                    if done.is_set():
                        return

    with ThreadPoolExecutor(2) as attackers:
        under_way = [attackers.submit(attack) for _ in range(2)]
        try:
            statuses = [stand.call("GET", "health")[0] for _ in range(20) if not done.wait(0.2)]
        finally:
            done.set()
        for each in under_way:
            each.result()
    assert statuses == [200] * 20


@pytest.mark.parametrize("carried", ["haproxy", "apache"], indirect=True)
def test_unfinished_streams_leave_others_theirs(carried: Carried) -> None:
    stand, session, _ = carried
    manage = f"manage.{DOMAIN}:{stand.port}"
    head = {":method": "POST", ":scheme": "https", ":authority": manage}
    with ExitStack() as stack:
        for _ in range(40):
            client = stack.enter_context(Client(stand, manage, OTHER))
            for stream in range(1, 17, 2):
                client.send_request({**head, ":path": "/api/v1/sessions"}, None, stream)
        for _ in range(3):
            with Client(stand, session.host) as another:
                get = {**head, ":method": "GET", ":authority": session.host, ":path": "/"}
                another.send_request(get, b"")
                assert another.receive(HEADERS).startswith(STATUS_200)


def memory(stand: Stand) -> int:
    """Return the private memory of service and engine, in bytes."""
    total = 0
    for pid in stand.processes():
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        total += int(found[1]) * 1024 if found else 0
    return total


def test_streams_of_one_address_leave_requests_to_others(
    tmp_path: Path, need: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test HTTP/2: each of a connection's hundred streams has one to the notebook."""
    few_descriptors(monkeypatch, few := 400)
    counted = few // 10 + few // 20
    with (
        running(tmp_path, "haproxy", need) as stand,
        stand.notebook() as (session, _),
        stand.notebook() as (other, _),
        Client(stand, session.host, OTHER) as client,
    ):
        client.send(SETTINGS, 0, NO_WINDOW, stream=0)
        head = {":method": "GET", ":scheme": "https", ":authority": session.host}
        streams = range(1, 200, 2)
        for stream in streams:
            client.send_request({**head, ":path": "/endless"}, b"", stream)
        statuses = [client.receive(HEADERS)[:1] for _ in streams]
        refused = [status for status in statuses if status != STATUS_200]
        assert len(streams) - counted - 2 <= len(refused) <= len(streams) - counted + 2
        assert stand.request(other.host, "GET", "/").status == 200
        assert answers(stand, f"manage.{DOMAIN}:{stand.port}")


# Apache has no such limit (docs/operators.md).
@pytest.mark.parametrize("kind", ["embedded", "workers", "haproxy"])
def test_one_address_leaves_connections_to_others(
    kind: str, tmp_path: Path, need: Callable[[str], str]
) -> None:
    most = 6
    settings: dict[str, Any] = {"clients.connections_per_address": most}
    with running(tmp_path, kind, need, **settings) as stand:
        host = f"manage.{DOMAIN}:{stand.port}"
        with held(stand, 4 * most), pytest.raises(OSError):  # noqa: PT011 - closed, or reset
            stand.request(host, "GET", "/api/v1/health")
        # Closed connections free their share.
        for _ in range(4 * most):
            with suppress(OSError):
                stand.request(host, "GET", "/api/v1/health")
        until(lambda: answers(stand, host), "connections that were closed count no more")
        with held(stand, 4 * most):
            assert answers(stand, host, OTHER)


def few_descriptors(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    """Start services and engines with so few of them."""
    limited = ["/bin/sh", "-c", f'ulimit -n {few}; exec "$@"', "sh", *COMMAND]
    monkeypatch.setattr(Service, "command", limited)


def answers(stand: Stand, host: str, source: str = "127.0.0.1") -> bool:
    try:
        return stand.request(host, "GET", "/api/v1/health", source=source).status == 200
    except OSError:
        return False


@pytest.mark.parametrize("kind", ["embedded", "workers", "haproxy"])
def test_descriptors_are_kept_for_others(
    kind: str, tmp_path: Path, need: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few_descriptors(monkeypatch, few := 400)
    with running(tmp_path, kind, need) as stand, stand.notebook() as (session, _):
        host = f"manage.{DOMAIN}:{stand.port}"
        with held(stand, 2 * few, OTHER):
            assert answers(stand, host)
            assert stand.request(session.host, "GET", "/").status == 200
            settings = load(None, [f"directory={stand.given['directory']}"])
            assert operate.ask(settings, "GET", "/ready")
