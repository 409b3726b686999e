"""The count of connections by network, and its limits."""

from __future__ import annotations

import resource

import pytest

from rps_proxy.http import limits as accepting


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::2", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::1", "192.0.2.1", False),
    ],
)
def test_an_address_counts_as_its_network(one: str, other: str, same: bool) -> None:
    def network(address: str) -> bytes | str:
        return accepting.network_of((address, 1, 0, 0) if ":" in address else (address, 1))

    assert (network(one) == network(other)) is same


def test_no_address_gets_more_than_a_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in (40, 256, 1024, 200_000):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        most = accepting.most_connections()
        assert most >= 1
        assert limit < 100 or 2 * most <= limit - 64
        assert accepting.most_of_one_address(10**6) == max(1, most // 4)
        assert accepting.most_of_one_address(0) == 0
        assert accepting.most_of_one_address(3, shares=2) in (1, 2)
    assert accepting.most_of_one_address(1000, shares=8) == 125
