"""Websockets through the service: who may open one, what passes, and what ends it."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.stands.service import (
    DOMAIN,
    Notebook,
    Service,
    Session,
    read_exactly,
    read_head,
    running_service,
    upgrade_request,
)

HELLO = (
    bytes([0x82, 0x85]) + b"mask" + b"hello"
)  # a masked frame; the notebook sends it back as it is
PING = bytes([0x89, 0x00])
DEAD_AFTER = 6  # seconds
GOING_AWAY = bytes([0x88, 0x02, 0x03, 0xE9])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"websocket.ping_every": 1, "advanced.websocket_dead_after": DEAD_AFTER}
    with running_service(tmp_path_factory.mktemp("service"), **settings) as service:
        yield service


@pytest.fixture(scope="module")
def ready(service: Service) -> Iterator[tuple[Session, Notebook]]:
    with service.notebook() as both:
        yield both


@contextmanager
def websocket(service: Service, session: Session, **headers: str) -> Iterator[ssl.SSLSocket]:
    with service.connect(session.host) as connection:
        connection.sendall(upgrade_request(session.host, **headers))
        assert read_head(connection).startswith("HTTP/1.1 101 ")
        yield connection


def frame(connection: ssl.SSLSocket) -> bytes:
    """Return the next frame, as it came."""
    head = read_exactly(connection, 2)
    size = head[1] & 0x7F
    if size > 125:
        length = read_exactly(connection, 2 if size == 126 else 8)
        head, size = head + length, int.from_bytes(length)
    masked = head[1] & 0x80
    return head + read_exactly(connection, size + (4 if masked else 0))


def data(connection: ssl.SSLSocket) -> bytes:
    """Return the next frame but pings, which may come before each."""
    while (came := frame(connection))[0] == PING[0]:
        pass
    return came


def test_frames_pass_as_they_are(service: Service, ready: tuple[Session, Notebook]) -> None:
    origin = f"https://{ready[0].host}"
    with websocket(service, ready[0], Origin=origin) as connection:
        for _ in range(3):
            connection.sendall(HELLO)
            assert data(connection) == HELLO
        large = (
            bytes([0x82, 0xFF]) + (5_000_000).to_bytes(8, "big") + b"mask" + os.urandom(5_000_000)
        )
        connection.sendall(large[:3])
        connection.sendall(large[3:100])
        connection.sendall(large[100:])
        assert data(connection) == large


def test_the_subprotocol_is_between_client_and_notebook(
    service: Service, ready: tuple[Session, Notebook]
) -> None:
    with service.connect(ready[0].host) as connection:
        offer = "v1.kernel.websocket.jupyter.org, other"
        connection.sendall(upgrade_request(ready[0].host, Sec_WebSocket_Protocol=offer))
        head = read_head(connection)
    assert "Sec-WebSocket-Protocol: v1.kernel.websocket.jupyter.org\r\n" in head
    assert "\r\nUpgrade: websocket\r\n" in head


def test_bytes_sent_with_the_opening_are_not_lost(
    service: Service, ready: tuple[Session, Notebook]
) -> None:
    with service.connect(ready[0].host) as connection:
        connection.sendall(upgrade_request(ready[0].host) + HELLO)
        assert read_head(connection).startswith("HTTP/1.1 101 ")
        assert data(connection) == HELLO


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://{host}",
        "https://{host}.evil.example",
        "https://{name}.{domain}",  # without the port it is another origin
        "https://{host}/",
        "https://manage.{domain}:{port}",
        "https://evil@{host}",
        "null",
        "https://{host}, https://evil.example",
    ],
)
def test_pages_of_other_origins_open_none(
    service: Service, ready: tuple[Session, Notebook], origin: str
) -> None:
    session, notebook = ready
    text = origin.format(host=session.host, name=session.name, domain=DOMAIN, port=service.port)
    before = len(notebook.requests)
    answer = service.send(session.host, upgrade_request(session.host, Origin=text))
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert len(notebook.requests) == before


def test_two_origins_are_none(service: Service, ready: tuple[Session, Notebook]) -> None:
    session, notebook = ready
    before = len(notebook.requests)
    own = f"https://{session.host}"
    request = upgrade_request(session.host, Origin=own)
    request = request.replace(b"\r\n\r\n", b"\r\nOrigin: https://evil.example\r\n\r\n")
    assert service.send(session.host, request).startswith(b"HTTP/1.1 403 ")
    assert len(notebook.requests) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_WebSocket_Version": "8"},
        {"Sec_WebSocket_Version": ""},
        {"Sec_WebSocket_Key": ""},
        {"Connection": "keep-alive"},
        {"Content_Length": "3"},
    ],
)
def test_malformed_openings_are_refused(
    service: Service, ready: tuple[Session, Notebook], headers: dict[str, str]
) -> None:
    session, notebook = ready
    before = len(notebook.requests)
    request = upgrade_request(session.host, **headers)
    assert service.send(session.host, request).startswith(b"HTTP/1.1 400 ")
    assert len(notebook.requests) == before


def test_a_notebook_may_refuse(service: Service, ready: tuple[Session, Notebook]) -> None:
    session, _ = ready
    request = upgrade_request(session.host).replace(b"GET /ws ", b"GET /none ")
    with service.connect(session.host) as connection:
        connection.sendall(request)
        assert read_head(connection).startswith("HTTP/1.1 200 ")


def test_both_sides_are_pinged(service: Service, ready: tuple[Session, Notebook]) -> None:
    """The notebook sends back what it gets, so its ping comes here too, masked."""
    with websocket(service, ready[0]) as connection:
        heads: set[bytes] = set()
        while not {PING, b"\x89\x80"} <= heads:
            heads.add(frame(connection)[:2])


def test_pings_come_between_frames(service: Service, ready: tuple[Session, Notebook]) -> None:
    with websocket(service, ready[0]) as connection:
        connection.sendall(HELLO[:8])
        time.sleep(1.6)
        connection.sendall(HELLO[8:])
        frames: set[bytes] = set()
        while not {PING, HELLO} <= frames:
            frames.add(frame(connection))


def test_who_is_silent_in_spite_of_pings_is_dropped(
    service: Service, ready: tuple[Session, Notebook]
) -> None:
    """Test that a client that answers no ping is disconnected, from the notebook too."""
    session, notebook = ready
    notebook.broken_off.clear()
    with websocket(service, session, X_Silent="1"):
        assert notebook.broken_off.wait(60)


def test_who_answers_stays(service: Service, ready: tuple[Session, Notebook]) -> None:
    with websocket(service, ready[0]) as connection:
        connection.settimeout(1)
        end = time.monotonic() + DEAD_AFTER + 2
        while time.monotonic() < end:
            try:
                frame = connection.recv(2)
            except TimeoutError:
                continue
            assert frame, "it was closed"
            if frame == PING:
                connection.sendall(bytes([0x8A, 0x80]) + b"mask")
        connection.sendall(HELLO)
        came = b""
        while HELLO not in came:
            part = connection.recv(100)
            assert part, came
            came += part


def test_each_side_hears_when_the_other_goes(service: Service) -> None:
    with service.notebook() as (session, notebook):
        with websocket(service, session):
            pass
        assert notebook.broken_off.wait(60)
        with websocket(service, session) as connection:
            connection.settimeout(60)
            notebook.__exit__()
            while connection.recv(100):
                pass


def test_revoking_closes_it_and_says_so(service: Service) -> None:
    with service.notebook() as (session, notebook):
        with websocket(service, session) as connection:
            connection.sendall(HELLO)
            assert data(connection) == HELLO
            service.revoke(session)
            rest = b""
            while part := connection.recv(100):
                rest += part
            assert rest.endswith(GOING_AWAY)
        assert notebook.broken_off.wait(60)
