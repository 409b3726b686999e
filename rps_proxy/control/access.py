"""Access by address: who may call, and where a route may lead."""

from __future__ import annotations

import re
import socket
import time
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.log import get_logger
from rps_proxy.networks import AddressSet
from rps_proxy.refusals import Refusal, RefusedError
from rps_proxy.settings.sections import Networks

if TYPE_CHECKING:
    from aiohttp import web

LOOK_AGAIN = 10.0  # seconds after which this machine's addresses are read again

_IPV4_ROUTES = Path("/proc/net/fib_trie")
_IPV6_ADDRESSES = Path("/proc/net/if_inet6")
_LOCAL = re.compile(r"\|-- ([0-9.]+)\n\s*/32 host LOCAL")

_log = get_logger("rps.access")


class Access:
    """The rules of `networks` in proxy.yaml, for addresses that are `networks.plain`."""

    def __init__(self, networks: Networks) -> None:
        self._issue = AddressSet(networks.issue)
        self._redeem = AddressSet(networks.redeem)
        self._announced = AddressSet(networks.announce)
        self._excluded = AddressSet(networks.exclude)
        named = [ip_network(network) for network in networks.redeem]
        self._named = AddressSet(
            str(network)
            for network in named
            if network.is_loopback or network.is_link_local or network.num_addresses == 1
        )
        self._own: frozenset[str] = frozenset()
        self._looked = float("-inf")

    def check_issue(self, address: str) -> None:
        """Check an address that requests a name. Refused: `outside-networks`."""
        if address not in self._issue:
            raise RefusedError(Refusal.OUTSIDE_NETWORKS, address)

    def check_either(self, address: str) -> None:
        """Check that an address may issue or redeem. Refused: `outside-networks`."""
        if address not in self._issue and address not in self._redeem:
            raise RefusedError(Refusal.OUTSIDE_NETWORKS, address)

    def check_redeem(self, address: str) -> None:
        """Check an address that renews a lease. Refused: `outside-networks`."""
        if address not in self._redeem:
            raise RefusedError(Refusal.OUTSIDE_NETWORKS, address)

    def check_target(self, address: str) -> None:
        """Check an address that a route is to lead to.

        Refused: `outside-networks`, `excluded-address`.
        """
        self.check_redeem(address)
        self._check_not_excluded(address)

    def check_announced(self, address: str) -> None:
        """Check an address that an agent announces in place of its connection's.

        Refused: `outside-networks`, `excluded-address`.
        """
        if address not in self._announced:
            raise RefusedError(Refusal.OUTSIDE_NETWORKS, address)
        self._check_not_excluded(address)

    def may_be_announced(self, address: str | None) -> bool:
        """Return whether agents may announce this address; None is none."""
        return address is not None and address in self._announced

    def _check_not_excluded(self, address: str) -> None:
        if address in self._excluded:
            raise RefusedError(Refusal.EXCLUDED_ADDRESS, address)
        if address not in self._named and self._is_special(address):
            raise RefusedError(Refusal.EXCLUDED_ADDRESS, address)

    def _is_special(self, address: str) -> bool:
        """Return whether an address leads to services meant for this host alone."""
        if time.monotonic() - self._looked > LOOK_AGAIN:
            self._own, self._looked = own_addresses(), time.monotonic()
        parsed = ip_address(address)
        return (
            parsed.is_loopback
            or parsed.is_link_local
            or parsed.is_unspecified
            or parsed.is_multicast
            or address in self._own
        )


def from_page(request: web.BaseRequest) -> bool:
    """Return whether a page in a browser made this request.

    Launchers and agents send neither field. A browser sends `Sec-Fetch-Site` also with requests that have no
    `Origin`, for an image for example; `none` is a request of the address bar.
    """
    return "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none"


def own_addresses() -> frozenset[str]:
    """Return this host's addresses in this network namespace, from the kernel."""
    found: set[str] = set()
    try:
        found.update(_LOCAL.findall(_IPV4_ROUTES.read_text("ascii")))
    except OSError as error:
        _log.error("own-addresses-unknown", file=str(_IPV4_ROUTES), reason=error.strerror)
    try:
        lines = _IPV6_ADDRESSES.read_text("ascii").splitlines()
    except FileNotFoundError:  # a kernel without IPv6
        lines = []
    for line in lines:
        found.add(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line[:32])))
    return frozenset(found)
