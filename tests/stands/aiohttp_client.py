"""A client of aiohttp that leaves no connection open when it ends."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.connector import AddrInfoType


@asynccontextmanager
async def client_session(
    trust: ssl.SSLContext, resolver: AbstractResolver | None = None, seconds: float = 90
) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a client, and wait until its connections are closed.

    aiohttp's `close` returns before TLS is shut down; the transport of a loop that ends then
    would warn in whichever test the garbage collector runs next.

    Args:
        seconds: the limit of a request.
    """
    opened: list[socket.socket] = []

    def recorded(address: AddrInfoType) -> socket.socket:
        opened.append(socket.socket(*address[:3]))
        return opened[-1]

    connector = aiohttp.TCPConnector(resolver=resolver, ssl=trust, socket_factory=recorded)
    timeout = aiohttp.ClientTimeout(total=seconds)
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            yield session
    finally:
        while any(each.fileno() != -1 for each in opened):  # within asyncio's 30 seconds
            await asyncio.sleep(0.01)
