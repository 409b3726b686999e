"""An upstream on loopback: `python -m benchmarks.upstream PORT[:PEM]...`.

`/echo` is a websocket that sends back what comes, `/download` answers `?bytes=N` of zeros, and `/upload`
reads a body and answers its length.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

import uvloop
from aiohttp import web

from benchmarks.processes import most_files

PART = bytes(256 * 1024)


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Send back every message."""
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    async for message in socket:
        await socket.send_bytes(message.data)
    return socket


async def download(request: web.Request) -> web.StreamResponse:
    """Zeros."""
    left = int(request.query["bytes"])
    response = web.StreamResponse(headers={"Content-Length": str(left)})
    await response.prepare(request)
    while left:
        part = PART[:left]
        await response.write(part)
        left -= len(part)
    return response


async def upload(request: web.Request) -> web.Response:
    """Count the body."""
    total = 0
    async for part in request.content.iter_any():
        total += len(part)
    return web.Response(text=str(total))


async def serve(places: list[str]) -> None:
    """Listen on each `PORT` or `PORT:PEM`, until cancelled."""
    app = web.Application()
    app.add_routes(
        [web.get("/echo", echo), web.get("/download", download), web.post("/upload", upload)]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    for place in places:
        port, _, pem = place.partition(":")
        context = None
        if pem:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
        await web.TCPSite(runner, "127.0.0.1", int(port), ssl_context=context).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    most_files()
    uvloop.run(serve(sys.argv[1:]))
