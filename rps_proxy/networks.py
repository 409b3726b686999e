"""Addresses: who may ask, and where a route may lead."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network


@lru_cache(maxsize=4096)
def plain(address: str) -> str:
    """Return an address without a zone, and IPv4 that arrives as IPv6 as IPv4."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(parsed)


class AddressSet:
    """A set of networks, with a cache of answers: few addresses ask, and often."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ip_network(network) for network in networks]
        self._known: dict[str, bool] = {}

    def __contains__(self, address: str) -> bool:
        """Whether one network holds `address`, which must be `plain`."""
        answer = self._known.get(address)
        if answer is None:
            parsed = ip_address(address)
            answer = any(parsed in network for network in self._networks)
            if len(self._known) < 10_000:
                self._known[address] = answer
        return answer
