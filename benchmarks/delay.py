"""A relay on loopback that holds back all it carries: `python -m benchmarks.delay PORT TO MILLISECONDS`.

Each direction takes half of MILLISECONDS, so that a round trip takes all of them, as `tc netem delay` would
have it where the kernel offers that. What is on its way is bounded by MOST, in place of TCP's window.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from benchmarks.processes import ADDRESS, most_files

MOST = 16 * 2**20  # bytes on their way in one direction: 1.3 Gbit/s at a round trip of 100 ms
PART = 256 * 1024


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Pass on what comes, `delay` seconds later, and the end of it."""
    clock = asyncio.get_running_loop().time
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MOST // PART)

    async def read() -> None:
        part = b"-"
        while part:
            part = await reader.read(PART)
            await waiting.put((clock() + delay, part))

    reading = asyncio.create_task(read())
    try:
        while True:
            due, part = await waiting.get()
            await asyncio.sleep(due - clock())
            if not part:
                break
            writer.write(part)
            await writer.drain()
        writer.write_eof()
        await reading
    except ConnectionError:
        reading.cancel()
        writer.close()


async def serve(port: int, to: int, delay: float) -> None:
    """Listen until cancelled."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection(ADDRESS, to, limit=PART)
        await asyncio.gather(carry(reader, onward[1], delay), carry(onward[0], writer, delay))
        onward[1].close()
        writer.close()

    server = await asyncio.start_server(connected, ADDRESS, port, limit=PART, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    most_files()
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 2000))
