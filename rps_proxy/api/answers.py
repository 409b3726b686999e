"""Answers of the API: JSON that no cache keeps, and refusals."""

from __future__ import annotations

import json

from aiohttp import web

from rps_proxy.refusals import Refusal


def json_response(value: object, *, status: int = 200) -> web.Response:
    """Return an answer in JSON, which no cache may store."""
    return web.Response(
        status=status,
        body=json.dumps(value).encode(),
        headers={"Content-Type": "application/json", "Cache-Control": "no-store"},
    )


def error_response(
    code: Refusal, retry_after: int | None = None, message: str | None = None
) -> web.Response:
    """Return the answer to a refused call.

    `retry_after` in seconds, and `message`: by default the code's."""
    content = {"error": code, "message": message or code.message}
    response = json_response(content, status=code.status)
    response.headers.update(error_headers(code, retry_after))
    return response


def error_headers(code: Refusal, retry_after: int | None = None) -> dict[str, str]:
    """Return the header fields of a refusal: when to try again, and how to authenticate."""
    headers = {}
    if code.retry_after:
        headers["Retry-After"] = str(retry_after or code.retry_after)
    if code.status == 401:
        headers["WWW-Authenticate"] = "Munge" if code is Refusal.MUNGE_REQUIRED else "Bearer"
    return headers
