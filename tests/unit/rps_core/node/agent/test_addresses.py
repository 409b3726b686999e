"""This node's addresses by interface, network or address, from the kernel."""

from __future__ import annotations

import pytest

from rps_core.node.agent.addresses import address_by, own_addresses
from rps_core.node.agent.events import End, EndCause


def test_loopback_is_found_by_each_name() -> None:
    assert ("lo", "127.0.0.1") in own_addresses()
    for wanted in ("lo", "127.0.0.1", "127.0.0.0/8", "127.0.0.9/8"):
        assert address_by(wanted) == "127.0.0.1"


@pytest.mark.parametrize(
    "wanted", ["ib7", "198.51.100.0/24", "198.51.100.1", "2001:db8::/32", "lo:0"]
)
def test_an_address_that_the_node_does_not_have_ends_the_job(wanted: str) -> None:
    with pytest.raises(End) as caught:
        address_by(wanted)
    assert caught.value.cause == EndCause.START_FAILED
    assert f"no address of {wanted} (proxy.node_address), but only: " in caught.value.reason
    assert "lo 127.0.0.1" in caught.value.reason
