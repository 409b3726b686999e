"""Find this node's address that the service is to connect to (`proxy.node_address`)."""

import array
import fcntl
import ipaddress
import socket
import struct
from typing import List, Tuple

from rps_core.node.agent.events import End, EndCause

_SIOCGIFCONF = 0x8912  # netdevice(7): the IPv4 addresses of all interfaces
_RECORD = 40  # bytes of its struct ifreq: a name of 16, then the address
_MOST = 1024  # addresses
_IPV6 = "/proc/net/if_inet6"
_GLOBAL = "00"  # the scope there


def address_by(wanted: str) -> str:
    """Return this node's address by an interface's name, a network, or an address.

    Raises:
        End: the node has no such address.
    """
    found = own_addresses()
    try:
        network = ipaddress.ip_network(wanted, strict=False)
    except ValueError:
        fitting = [address for name, address in found if name == wanted]
    else:
        fitting = [address for _, address in found if ipaddress.ip_address(address) in network]
    if fitting:
        return fitting[0]
    raise End(
        EndCause.START_FAILED,
        "This node has no address of %s (proxy.node_address), but only: %s"
        % (wanted, ", ".join("%s %s" % pair for pair in found) or "none"),
    )


def own_addresses() -> List[Tuple[str, str]]:
    """Return the interfaces' names and addresses, IPv4 first (OSError)."""
    return _ipv4() + _ipv6()


def _ipv4() -> List[Tuple[str, str]]:
    room = array.array("B", bytes(_MOST * _RECORD))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("iL", len(room), room.buffer_info()[0])
        (size,) = struct.unpack_from("i", fcntl.ioctl(sock.fileno(), _SIOCGIFCONF, request))
    records = [room[start : start + _RECORD].tobytes() for start in range(0, size, _RECORD)]
    return [
        # An alias has the name `eth0:1`.
        (record[:16].split(b"\0")[0].decode().partition(":")[0], socket.inet_ntoa(record[20:24]))
        for record in records
    ]


def _ipv6() -> List[Tuple[str, str]]:
    try:
        with open(_IPV6) as stream:
            rows = [line.split() for line in stream]
    except FileNotFoundError:  # a kernel without IPv6
        return []
    return [
        (row[5], socket.inet_ntop(socket.AF_INET6, bytes.fromhex(row[0])))
        for row in rows
        if row[3] == _GLOBAL
    ]
