"""The login node's address that compute nodes reach."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rps_core.errors import SchedulerError
from rps_core.proxy_client.login_address import address_for_nodes


def on(hosts: list[str] | Exception) -> Any:
    def cluster_hosts(_shell: object) -> list[str]:
        if isinstance(hosts, Exception):
            raise hosts
        return hosts

    return SimpleNamespace(site=SimpleNamespace(cluster_hosts=cluster_hosts), shell=None)


@pytest.mark.parametrize("hosts", [[], SchedulerError("down", "")], ids=["none", "no answer"])
def test_without_known_nodes_the_service_listens_on_the_loopback(
    hosts: list[str] | Exception,
) -> None:
    assert address_for_nodes(on(hosts)) == "127.0.0.1"
