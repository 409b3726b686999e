"""Messages between the service and a worker process, over a private socket pair.

Each call is answered, in order of arrival, with an error or null and the worker's traffic. A message is JSON
after its length.
"""

from __future__ import annotations

import json
import struct
from asyncio import IncompleteReadError, StreamReader
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_LENGTH = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Begin:
    """A worker's settings; see `Settings` for most of them, `Appearance.sent` for `appearance`.

    `door` is the path of the Unix socket to which requests without a route go. `certificate` includes its
    key; both certificates are PEM.
    """

    domain: str
    public_port: int
    connect_timeout: float
    ping_every: float
    dead_after: float
    hello_time: float
    head_time: float
    stall_time: float
    connections_per_address: int
    strict_transport: str | None
    appearance: dict[str, Any]
    log_level: str
    log_format: str
    door: str
    upstream_ca: str
    certificate: str = field(repr=False)


def message(content: Mapping[str, object]) -> bytes:
    """Encode a message."""
    text = json.dumps(content).encode()
    return _LENGTH.pack(len(text)) + text


async def receive(reader: StreamReader) -> dict[str, Any] | None:
    """Read the next message; None: the other end has closed."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        content = await reader.readexactly(length)
    except (IncompleteReadError, ConnectionError):
        return None
    received: dict[str, Any] = json.loads(content)
    return received
