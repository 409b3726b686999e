"""The HTTP server that the service's listeners share, over a connection."""

from __future__ import annotations

import asyncio

from aiohttp import web

from rps_proxy.http.server import HttpServer


async def test_a_connection_that_comes_after_the_end_is_not_taken_up() -> None:
    taken: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        taken.append(request.path)
        return web.Response()

    async def ask(path: str) -> bytes:
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    server = HttpServer(answer)
    accepting = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    async with accepting:
        address = accepting.sockets[0].getsockname()
        assert b"200 OK" in await ask("/before")
        await server.end(1)
        assert await ask("/after") == b""
    assert taken == ["/before"]
