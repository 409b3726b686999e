"""The bodies of requests to the service itself: read whole, up to a limit."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from rps_proxy.group_commit import RefusedError


async def content(request: web.BaseRequest, longest: int) -> bytes:
    """The body, of at most `longest` bytes; empty where there is none. Refused: `too-large`."""
    if not request.body_exists:
        return b""
    if (request.content_length or 0) > longest:
        raise RefusedError("too-large")
    found = b""
    while part := await request.content.readany():
        found += part
        if len(found) > longest:
            raise RefusedError("too-large")
    return found


def json_object(text: bytes) -> dict[str, Any]:
    """A JSON object; an empty one where there is no text. Refused: `bad-request`."""
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        raise RefusedError("bad-request") from None
    if not isinstance(value, dict):
        raise RefusedError("bad-request")
    return value
