"""The PROXY protocol, version 2: a connection's client, before its first request.

https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt, section 2.2. Only the part that an engine
sends: the command PROXY with the addresses of a TCP connection.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_HEAD = struct.Struct("!12sBBH")  # signature, version and command, family, length of the rest
_PROXY = 0x21  # version 2, command PROXY
_TCP4, _TCP6 = 0x11, 0x21
_ADDRESSES = {_TCP4: (4, 12), _TCP6: (16, 36)}  # bytes of one address; of both with their ports
LONGEST = 1024  # bytes; with the extensions (TLV) that HAProxy may add, it sends far less


class BadHeaderError(Exception):
    """The first bytes are not the header of a client's TCP connection."""


def header(source: str) -> bytes:
    """Return the header for a connection from the address `source`, without its port."""
    address = ip_address(source)
    family = _TCP4 if address.version == 4 else _TCP6
    size, length = _ADDRESSES[family]
    rest = address.packed + bytes(length - size)  # destination and ports, which are never read
    return _HEAD.pack(SIGNATURE, _PROXY, family, length) + rest


def read(data: bytes) -> tuple[str, int] | None:
    """Return the client's address and the header's length; None: more is needed.

    Raises:
        BadHeaderError: the bytes begin with something else, or name no TCP client.
    """
    if not SIGNATURE.startswith(data[: len(SIGNATURE)]):
        raise BadHeaderError
    if len(data) < _HEAD.size:
        return None
    _, command, family, length = _HEAD.unpack_from(data)
    if command != _PROXY or family not in _ADDRESSES or length > LONGEST:
        raise BadHeaderError
    size, least = _ADDRESSES[family]
    if length < least:
        raise BadHeaderError
    if len(data) < _HEAD.size + length:
        return None
    source = ip_address(data[_HEAD.size : _HEAD.size + size])
    return str(source), _HEAD.size + length
