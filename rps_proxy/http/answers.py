"""Short answers of the service, and the header fields of all its answers."""

from __future__ import annotations

from aiohttp import web

# Fields of each answer of the service. It sets no cookie.
OURS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Server": "rps",  # aiohttp's own reveals the versions in use
    "X-Content-Type-Options": "nosniff",
}


def moved(url: str) -> web.Response:
    """Send the same request to `url`, whatever its method (308)."""
    response = web.Response(status=308, headers={**OURS, "Location": url})
    response.force_close()
    return response


def plain_answer(status: int) -> web.Response:
    """Build an answer of one line, without anything from the request."""
    texts = {
        400: "Bad request",
        403: "Refused",
        405: "Refused",
        408: "Too slow",
        421: "Not served here",
        431: "Too large",
        503: "Try again",
    }
    response = web.Response(status=status, text=f"{texts.get(status, 'Internal error')}\n")
    response.headers.update(OURS)
    response.force_close()
    return response
