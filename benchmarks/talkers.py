"""Websockets that each say something once a second: `python -m benchmarks.talkers SECONDS EACH CA URL...`.

Opens so many to each URL, says `talking` on a line of its own once all are open, and at the end as JSON
what came of it: `messages` that were echoed, `p50` and `p99` and the `worst` of their round trips in
seconds, and `errors`: websockets that could not be opened, or did not last, or echoed something else.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import sys
import time
from array import array

import aiohttp
import uvloop

from benchmarks.processes import most_files
from benchmarks.websocket import Loopback

AT_ONCE = 50  # that are being opened
PATIENCE = 30.0  # seconds for an echo


class Talk:
    """All of them, and what they heard."""

    def __init__(self, session: aiohttp.ClientSession, seconds: float) -> None:
        self._session = session
        self._seconds = seconds
        self._opening = asyncio.Semaphore(AT_ONCE)
        self.begin = asyncio.Event()
        self.opened = 0
        self.took = array("d")
        self.errors = 0

    async def one(self, url: str) -> None:
        """One websocket, from its opening to the end of the talk."""
        try:
            async with self._opening:
                socket = await self._session.ws_connect(url)
            self.opened += 1
            async with socket:
                await self.begin.wait()
                await asyncio.sleep(random.random())
                end = time.monotonic() + self._seconds
                while (begun := time.monotonic()) < end:
                    message = b"%-64d" % time.perf_counter_ns()
                    await socket.send_bytes(message)
                    if await socket.receive_bytes(timeout=PATIENCE) != message:
                        raise TypeError("another echo")
                    self.took.append(time.monotonic() - begun)
                    await asyncio.sleep(begun + 1 - time.monotonic())
        except (aiohttp.ClientError, OSError, TimeoutError, TypeError):
            self.errors += 1


async def main(seconds: float, each: int, ca: str, urls: list[str]) -> None:
    """See the module."""
    trust = ssl.create_default_context(cafile=ca)
    connector = aiohttp.TCPConnector(resolver=Loopback(), limit=0, ssl=trust)
    async with aiohttp.ClientSession(connector=connector) as session:
        talk = Talk(session, seconds)
        tasks = [asyncio.create_task(talk.one(url)) for url in urls for _ in range(each)]
        while talk.opened + talk.errors < len(tasks):
            await asyncio.sleep(0.1)
        print("talking", flush=True)
        talk.begin.set()
        await asyncio.gather(*tasks)
    took = sorted(talk.took)
    figures = {
        "messages": len(took),
        "p50": took[len(took) // 2],
        "p99": took[len(took) * 99 // 100],
        "worst": took[-1],
        "errors": talk.errors,
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    most_files()
    uvloop.run(main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
