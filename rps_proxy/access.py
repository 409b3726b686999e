"""Who may ask, how often, and where a route may lead."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.log import get_logger
from rps_proxy.group_commit import RefusedError
from rps_proxy.networks import AddressSet
from rps_proxy.settings import Networks

if TYPE_CHECKING:
    from aiohttp import web

LOOK_AGAIN = 10.0  # seconds after which this machine's addresses are read again
MOST_SOURCES = 10_000

_IPV4_ROUTES = Path("/proc/net/fib_trie")
_IPV6_ADDRESSES = Path("/proc/net/if_inet6")
_LOCAL = re.compile(r"\|-- ([0-9.]+)\n\s*/32 host LOCAL")

_log = get_logger("rps.access")


class Access:
    """The rules of `networks` in proxy.yaml. Addresses must be `networks.plain`."""

    def __init__(self, networks: Networks) -> None:
        self._issue = AddressSet(networks.issue)
        self._redeem = AddressSet(networks.redeem)
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
        """Refused: `outside-networks`."""
        if address not in self._issue:
            raise RefusedError("outside-networks")

    def check_either(self, address: str) -> None:
        """For who asks for names, and for who redeems them. Refused: `outside-networks`."""
        if address not in self._issue and address not in self._redeem:
            raise RefusedError("outside-networks")

    def check_redeem(self, address: str) -> None:
        """For what renews. Refused: `outside-networks`."""
        if address not in self._redeem:
            raise RefusedError("outside-networks")

    def check_target(self, address: str) -> None:
        """Whether a route may lead there. Refused: `outside-networks`, `excluded-address`."""
        self.check_redeem(address)
        if address in self._excluded:
            raise RefusedError("excluded-address")
        if address not in self._named and self._is_special(address):
            raise RefusedError("excluded-address")

    def _is_special(self, address: str) -> bool:
        """Loopback, link-local, or this machine: what is there was not meant for the outside."""
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
    """Whether a page in somebody's browser made this request; no program of ours sends these fields.

    `Sec-Fetch-Site` comes with what carries no `Origin`, an image say; `none` is the address bar.
    """
    return "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none"


def own_addresses() -> frozenset[str]:
    """This machine's addresses (of this network namespace), as the kernel routes to them."""
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


class TooFastError(RefusedError):
    """More names than `limits.issues_per_minute`; `after` so many seconds there is one again."""

    def __init__(self, after: int) -> None:
        super().__init__("too-fast")
        self.after = after


class Rate:
    """A bucket of `per_minute` tokens for each source, which fills up again in a minute; 0: no limit."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = per_minute
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens left, and when that was

    def take(self, source: str) -> None:
        """One token of that source's. Raises TooFastError where it has none."""
        if not self._most:
            return
        now = self._clock()
        left, since = self._buckets.get(source, (float(self._most), now))
        left = min(self._most, left + (now - since) * self._most / 60)
        if left < 1:
            raise TooFastError(ceil((1 - left) * 60 / self._most))
        if len(self._buckets) >= MOST_SOURCES and source not in self._buckets:
            self._forget(now)
        self._buckets[source] = left - 1, now

    def _forget(self, now: float) -> None:
        """Who has not asked for a minute has a full bucket again."""
        self._buckets = {who: what for who, what in self._buckets.items() if now - what[1] < 60}
