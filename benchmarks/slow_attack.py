"""Slow clients on loopback: `python -m benchmarks.slow_attack PORT NUMBER`.

A third each sends a byte a second of a TLS hello, of a request's head, and of the body of a call. What is
closed is opened again five seconds later. They come from 127.0.0.2. A line is printed once all have been
opened for the first time.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import Callable, Iterator

from benchmarks.processes import ADDRESS, most_files

SOURCE = "127.0.0.2"
AGAIN = 5.0  # seconds
AT_ONCE = 64  # connections that are being opened
HOST = "manage.rps.localhost"


def hello() -> Iterator[bytes]:
    """Return the record and handshake heads of a TLS hello of 512 bytes, and zeros."""
    yield b"\x16"
    yield from (bytes([each]) for each in b"\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    while True:
        yield b"\0"


def head() -> Iterator[bytes]:
    """Return a head with a field that does not end."""
    yield f"GET / HTTP/1.1\r\nHost: {HOST}\r\nX: ".encode()
    while True:
        yield b"x"


def body() -> Iterator[bytes]:
    """Return a call whose body does not end."""
    yield f"POST /api/v1/sessions HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4096\r\n\r\n".encode()
    while True:
        yield b" "


KINDS: tuple[tuple[Callable[[], Iterator[bytes]], bool], ...] = (
    (hello, False),
    (head, True),
    (body, True),
)


async def attack(port: int, number: int) -> None:
    """Keep so many connections busy, until cancelled."""
    trust = ssl.create_default_context()
    trust.check_hostname = False
    trust.verify_mode = ssl.CERT_NONE
    opening = asyncio.Semaphore(AT_ONCE)
    left = number

    async def client(kind: int) -> None:
        nonlocal left
        parts, encrypted = KINDS[kind % len(KINDS)]
        first = True
        while True:
            with contextlib.suppress(OSError):
                async with opening:
                    reader, writer = await asyncio.wait_for(
                        asyncio.open_connection(
                            ADDRESS,
                            port,
                            ssl=trust if encrypted else None,
                            server_hostname=HOST if encrypted else None,
                            local_addr=(SOURCE, 0),
                        ),
                        AGAIN,
                    )
                left, first = left - first, False
                if not left:
                    print("opened", flush=True)
                    left = -1
                await _drip(reader, writer, parts())
            left, first = left - first, False
            if not left:
                print("opened", flush=True)
                left = -1
            await asyncio.sleep(AGAIN)

    await asyncio.gather(*(client(kind) for kind in range(number)))


async def _drip(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, parts: Iterator[bytes]
) -> None:
    """Send a part a second until the other side closes."""
    closed = asyncio.ensure_future(reader.read())
    try:
        for part in parts:
            writer.write(part)
            done, _ = await asyncio.wait([closed], timeout=1)
            if done:
                return
    finally:
        closed.cancel()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await closed
        writer.close()


if __name__ == "__main__":
    most_files()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(attack(int(sys.argv[1]), int(sys.argv[2])))
