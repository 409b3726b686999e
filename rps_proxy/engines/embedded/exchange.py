"""One request to a notebook and its answer."""

from __future__ import annotations

import asyncio
from typing import cast

from aiohttp import ClientError, web
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage, StreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

from rps_proxy.engines.embedded.headers import BadHeadError, request_head, response_head
from rps_proxy.engines.embedded.routes import Route
from rps_proxy.engines.embedded.upstream import UnreachableError, break_off
from rps_proxy.http.heads import LONGEST_READ, MOST_FIELDS

LEAST_BODY = 16 * 1024  # bytes of a body that a client must send within the stall time

# A notebook that refuses an upload by its length answers and closes. If the body arrives after that, its
# kernel resets the connection, and the answer is lost (RFC 9112, 9.6). So such a long body waits `_REFUSAL`.
LONG_UPLOAD = 1_000_000
_REFUSAL = 0.05  # seconds

# Methods that may be sent twice (RFC 9110, 9.2.1: safe).
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class UnacceptableError(Exception):
    """The request is refused with `status`; nothing was sent to the notebook."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class NotAnsweringError(Exception):
    """The notebook could not be reached, or broke off before it answered."""


class Exchange:
    """One request to a notebook and its answer, over one connection."""

    def __init__(
        self,
        request: web.BaseRequest,
        route: Route,
        remote: str,
        upgrade: bool,
        stall_time: float,
    ) -> None:
        self.request = request
        self.upgrade = upgrade
        self.connection: ResponseHandler | None = None
        self._route = route
        self._stall_time = stall_time
        self._stalled = False  # the client, within its body
        self._upload: asyncio.Task[None] | None = None
        self._has_body = request.body_exists
        self._chunked = self._has_body and "Transfer-Encoding" in request.headers
        try:
            self._head = request_head(
                request.method,
                request.raw_path,
                request.raw_headers,
                provenance=route.provenance(remote, request.headers["Host"].lower()),
                chunked=self._chunked,
                upgrade=upgrade,
            )
        except BadHeadError:
            raise UnacceptableError(400) from None

    async def ask(self) -> tuple[RawResponseMessage, StreamReader]:
        """Send the request; return the answer's head, and its body as a stream."""
        pool = self._route.pool
        # The notebook may close an old connection just as it is used, and it is unknown whether it processed
        # the request. A request that cannot be repeated gets a new connection, as does a websocket.
        repeatable = self.request.method in _SAFE and not self._has_body and not self.upgrade
        self.connection = pool.reuse(self.request.protocol) if repeatable else None
        if self.connection is not None:
            try:
                return await self._send(self.connection)
            except NotAnsweringError:
                self.connection.close()  # a kept one, which the notebook closed at that moment
        try:
            self.connection = await pool.connect()
        except UnreachableError as error:
            raise NotAnsweringError(str(error)) from error
        return await self._send(self.connection)

    async def answer(
        self, message: RawResponseMessage, payload: StreamReader, strict_transport: bytes
    ) -> bool:
        """Write the answer to the client; return whether its connection stays open.

        Raises:
            NotAnsweringError: the head cannot be passed on.
        """
        request = self.request
        bodiless = request.method == "HEAD" or message.code in (204, 304)
        old = request.version < (1, 1)
        measured = bodiless or "Content-Length" in message.headers
        if message.chunked and "Content-Length" in message.headers:
            raise NotAnsweringError("the answer has two lengths")
        uploaded = self._upload is None or self._upload.done()
        keep_alive = request.keep_alive and uploaded and (measured or not old)
        chunked = not measured and not old
        connection = b"" if keep_alive and not old else b"keep-alive" if keep_alive else b"close"
        try:
            head = response_head(
                message.code,
                message.reason,
                message.raw_headers,
                chunked=chunked,
                connection=connection,
                strict_transport=strict_transport,
            )
        except BadHeadError:
            raise NotAnsweringError("the answer is malformed") from None
        try:
            if payload.is_eof():  # all of it is here: one write
                body = payload.read_nowait()
                self._route.traffic.sent += len(body)
                await self._deliver(head + (_chunk(body, last=True) if chunked else body))
            else:
                await self._deliver(head)
                while body := await payload.readany():
                    self._route.traffic.sent += len(body)
                    await self._deliver(_chunk(body) if chunked else body)
                if chunked:
                    await self._deliver(b"0\r\n\r\n")
        except (ClientError, TimeoutError):
            # The notebook's connection broke within the body, or the client does not read. The client must
            # not take that for the end of the body.
            if request.transport is not None:
                request.transport.abort()
            return False
        if uploaded and self.connection is not None:
            self._route.pool.keep(request.protocol, self.connection)
            self.connection = None
        return keep_alive

    async def _deliver(self, data: bytes) -> None:
        """Write to the client; fail when it does not read within the stall time."""
        writer = cast(StreamWriter, self.request.writer)
        await writer.write(data, drain=False)
        if self.request.protocol.writing_paused:
            async with asyncio.timeout(self._stall_time):
                await writer.drain()

    def close(self) -> None:
        """Release the upload and the connection."""
        if self._upload is not None:
            self._upload.cancel()
        if self.connection is not None:
            break_off(self.connection)

    async def _send(self, connection: ResponseHandler) -> tuple[RawResponseMessage, StreamReader]:
        transport = connection.transport
        if transport is None:
            raise NotAnsweringError("the connection was closed")
        connection.set_response_params(
            skip_payload=self.request.method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=LONGEST_READ,
            max_field_size=LONGEST_READ,
            max_headers=MOST_FIELDS,
        )
        transport.write(self._head)
        if self._has_body:
            self._upload = asyncio.create_task(self._send_body(connection))
        try:
            message, payload = await connection.read()
            while 100 <= message.code < 200 and message.code != 101:
                message, payload = await connection.read()
        except (ClientError, HttpProcessingError, OSError) as error:
            if self._stalled:
                raise UnacceptableError(408) from error
            raise NotAnsweringError(f"the connection broke: {type(error).__name__}") from error
        return message, payload

    async def _send_body(self, connection: ResponseHandler) -> None:
        request = self.request
        writer = StreamWriter(connection, asyncio.get_running_loop())
        if self._chunked:
            writer.enable_chunking()
        try:
            if request.headers.get("Expect", "").lower() == "100-continue":
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if (request.content_length or 0) > LONG_UPLOAD:
                await asyncio.sleep(_REFUSAL)
            loop = asyncio.get_running_loop()
            until, owed = loop.time() + self._stall_time, LEAST_BODY
            while True:
                async with asyncio.timeout_at(until):
                    body = await request.content.readany()
                if not body:
                    break
                self._route.traffic.received += len(body)
                came = loop.time()
                await writer.write(body)
                owed -= len(body)
                if owed > 0:
                    until += loop.time() - came  # the notebook's time is not the client's
                else:
                    until, owed = loop.time() + self._stall_time, LEAST_BODY
            await writer.write_eof()
        except TimeoutError:
            self._stalled = True
            break_off(connection)
        except (ConnectionError, ClientError, web.RequestPayloadError):
            # The client or the notebook closed its connection. Abort, since the notebook must not take half a
            # body for the whole. An answer that it sent before is still read.
            break_off(connection)


def _chunk(data: bytes, *, last: bool = False) -> bytes:
    end = b"0\r\n\r\n" if last else b""
    return b"%x\r\n%s\r\n%s" % (len(data), data, end) if data else end
