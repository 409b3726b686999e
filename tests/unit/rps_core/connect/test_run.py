"""The way to a session that `rps connect` has chosen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rps_core.connect import run
from rps_core.connect.destination import Destination


@pytest.mark.parametrize("port", [None, 4000])
def test_a_port_without_a_tunnel_is_reported(
    capsys: pytest.CaptureFixture[str], port: int | None
) -> None:
    wish: Any = SimpleNamespace(port=port)
    session: Any = SimpleNamespace(name="a-b-c", tunnel=None, only_there=False, url=None)
    remote: Any = None
    assert run._Visit(Destination(name="comet", ssh="comet"), wish)._carry(remote, session) is None
    said = "--port has no effect: a-b-c needs no tunnel.\n"
    assert capsys.readouterr().err == ("" if port is None else said)
