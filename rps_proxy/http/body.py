"""The bodies of requests to the service itself: read whole, up to a limit."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from rps_proxy.refusals import Refusal, RefusedError


async def content(request: web.BaseRequest, longest: int, seconds: float) -> bytes:
    """Read the body, of at most `longest` bytes, within `seconds`; it may be empty.

    Refused: `too-large`, `too-slow`.
    """
    if not request.body_exists:
        return b""
    if (request.content_length or 0) > longest:
        raise RefusedError(Refusal.TOO_LARGE)
    found = b""
    try:
        async with asyncio.timeout(seconds):
            while part := await request.content.readany():
                found += part
                if len(found) > longest:
                    raise RefusedError(Refusal.TOO_LARGE)
    except TimeoutError:
        raise RefusedError(Refusal.TOO_SLOW) from None
    return found


def json_object(text: bytes) -> dict[str, Any]:
    """Parse a JSON object; an empty text gives an empty one. Refused: `bad-request`."""
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        raise RefusedError(Refusal.BAD_REQUEST) from None
    if not isinstance(value, dict):
        raise RefusedError(Refusal.BAD_REQUEST)
    return value
