"""The client of a session's service: how long it may take to answer."""

from __future__ import annotations

import pytest

from rps_core import cluster
from rps_core.config.settings import Overrides
from rps_core.proxy_client import client
from tests.stands.record import RECORD


def test_the_configuration_says_how_long_the_service_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[float] = []
    monkeypatch.setattr(client, "_client", lambda _endpoint, timeout: taken.append(timeout))
    given = Overrides(options={"proxy.timeout": 3.5})
    client.client_of(RECORD, cluster.find("generic", given))
    client.client_of(RECORD, cluster.find("generic"))
    client.client_of(RECORD, None)  # no cluster: as without any configuration
    assert taken == [3.5, 10.0, 10.0]
