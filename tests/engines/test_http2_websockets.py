"""Websockets over HTTP/2 (RFC 8441), which HAProxy offers and browsers use."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines.http2 import DATA, SETTINGS, Client
from tests.engines.stand import Stand, running

ENABLE_CONNECT_PROTOCOL = 8


@pytest.fixture
def haproxy(tmp_path: Path, need: Callable[[str], str]) -> Iterator[Stand]:
    with running(tmp_path, "haproxy", need) as stand:
        yield stand


@pytest.mark.parametrize("origin", ["https://{host}", "https://evil.example", None])
def test_their_origin_is_checked(haproxy: Stand, origin: str | None) -> None:
    with haproxy.notebook() as (session, notebook):
        with Client(haproxy, session.host) as client:
            offered = client.receive(SETTINGS)
            settings = dict(struct.iter_unpack("!HI", offered))
            assert settings[ENABLE_CONNECT_PROTOCOL] == 1
            fields = {"_authority": session.host, "_path": "/ws", "sec-websocket-version": "13"}
            if origin is not None:
                fields["origin"] = origin.format(host=session.host)
            ours = origin is None or "evil" not in origin
            assert client.open(**fields) is ours
            if ours:
                client.send(DATA, 0, bytes.fromhex("818100000000") + b"x")
                assert client.receive(DATA) == bytes.fromhex("818100000000") + b"x"
        assert notebook.requests == (["GET /ws HTTP/1.1"] if ours else [])
