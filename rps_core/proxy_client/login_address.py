"""Find this login node's address that the cluster's compute nodes reach."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from rps_core.errors import RpsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rps_core.cluster import ClusterContext

_ANY_PORT = 9  # nothing is sent there: a datagram socket's `connect` only chooses the route
_MOST_TRIED = 16  # hosts


def address_for_nodes(here: ClusterContext) -> str:
    """Return the address of this host on the route to a compute node, or to the scheduler's controller.

    A node answers on the way that this host takes to it. Names that do not resolve are left out; a route that
    leads to this host itself counts only if there is no other. Where the scheduler names no host, it is
    127.0.0.1: what runs elsewhere makes its calls as files.
    """
    addresses = list(_addresses(here))
    for address in addresses:
        if not (address.startswith("127.") or address == "::1"):
            return address
    return addresses[0] if addresses else "127.0.0.1"  # the cluster is this host, or unknown


def _addresses(here: ClusterContext) -> Iterator[str]:
    try:
        hosts = here.site.cluster_hosts(here.shell)
    except RpsError:
        hosts = []
    for host in hosts[:_MOST_TRIED]:
        try:
            found = socket.getaddrinfo(host, _ANY_PORT, type=socket.SOCK_DGRAM)
        except OSError:
            continue
        for family, kind, protocol, _, where in found:
            try:
                with socket.socket(family, kind, protocol) as probe:
                    probe.connect(where)
                    yield str(probe.getsockname()[0])
            except OSError:
                continue
