"""What the service and a worker process say to each other over a socket pair, which nobody else has.

Each call is answered, in the order in which they came, with an error or none, and with what the worker has
carried. A message is JSON with its length before it.
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
    """All that a worker needs to know beside its routes; see `Settings` for most of it.

    `door` is the path of the Unix socket on which the service takes what has no route. `certificate`
    holds the key, too; both certificates are PEM.
    """

    domain: str
    public_port: int
    connect_timeout: float
    ping_every: float
    dead_after: float
    strict_transport: str | None
    log_level: str
    log_format: str
    door: str
    upstream_ca: str
    certificate: str = field(repr=False)


def message(content: Mapping[str, object]) -> bytes:
    """As it is sent."""
    text = json.dumps(content).encode()
    return _LENGTH.pack(len(text)) + text


async def receive(reader: StreamReader) -> dict[str, Any] | None:
    """The next message; None when the other end has gone."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        content = await reader.readexactly(length)
    except (IncompleteReadError, ConnectionError):
        return None
    received: dict[str, Any] = json.loads(content)
    return received
