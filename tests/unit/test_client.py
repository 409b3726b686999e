"""The client of a session's service: how long it may take to answer."""

from __future__ import annotations

import pytest

from rps_core import client, cluster
from rps_core.settings import Given
from tests.unit.test_wording import RECORD


def test_the_configuration_says_how_long_the_service_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[float] = []
    monkeypatch.setattr(client, "_client", lambda _endpoint, timeout: taken.append(timeout))
    given = Given(options={"proxy.timeout": 3.5})
    client.client_of(RECORD, cluster.find("generic", given))
    client.client_of(RECORD, cluster.find("generic"))
    client.client_of(RECORD, None)  # no cluster: as where nobody configured anything
    assert taken == [3.5, 10.0, 10.0]
