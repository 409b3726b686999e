"""A service on IPv4 and IPv6 at once, and a notebook with an IPv6 address."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engines.stand import PROGRAMS, running
from tests.stands.service import Notebook, read_exactly, read_head, upgrade_request
from tests.stands.waiting import until

FRAME = b"\x81\x82\0\0\0\0hi"


@pytest.mark.parametrize("kind", PROGRAMS)
def test_both_families(kind: str, tmp_path: Path, need: Callable[[str], str]) -> None:
    given: dict[str, Any] = {"listen.address": "::"}
    with running(tmp_path, kind, need, **given) as stand:
        session = stand.issue()
        with Notebook(stand.certificate(session), tmp_path, address="::1") as notebook:
            status, answer = stand.redeem(session, notebook.port, source="::1")
            assert (status, answer["address"]) == (200, "::1")
            for source in ("::1", "127.0.0.7"):  # never ::ffff:127.0.0.7
                message = stand.request(session.host, "GET", "/", source=source).json()
                headers = {name.lower(): value for name, value in message["headers"]}
                assert (headers["x-forwarded-for"], headers["x-real-ip"]) == (source, source)
            # The address that redeemed, and none that looks like it.
            renew = f"sessions/{session.name}/renew"
            assert stand.call("POST", renew, session.claim, source="::1")[0] == 200
            assert stand.call("POST", renew, session.claim)[1]["error"] == "wrong-address"
            with stand.connect(session.host, "::1") as websocket:
                websocket.sendall(upgrade_request(session.host))
                assert " 101 " in read_head(websocket)
                websocket.sendall(FRAME)
                assert read_exactly(websocket, len(FRAME)) == FRAME
                stand.revoke(session)
                websocket.settimeout(60)
                while websocket.recv(100):
                    pass
        until(lambda: stand.request(session.host, "GET", "/").status == 410, "its route is out")
