"""Heads of messages on their way through: byte for byte, but for what belongs to one connection.

Field names and values are passed on as they came. Removed are the hop-by-hop fields (RFC 9110,
7.6.1), those that a `Connection` field names, and what only we may say of the client.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

RawHeaders = Iterable[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# `Expect` is answered here. X-Forwarded-* go too, see _pass_on.
_NOT_FROM_CLIENTS = _HOP_BY_HOP | {b"expect", b"forwarded", b"x-real-ip", b"x-rps-caller"}
_NOT_FROM_NOTEBOOKS = _HOP_BY_HOP | {b"alt-svc"}  # a notebook does not speak for our port
_NOT_FROM_STRICT_NOTEBOOKS = _NOT_FROM_NOTEBOOKS | {b"strict-transport-security"}
# Fields that a `Connection` field cannot remove: without them the message would mean another.
_KEPT = frozenset({b"host", b"content-length", b"set-cookie", b"close", b""})


class BadHeadError(Exception):
    """A field of the head would start another field, or another message."""


def request_head(
    method: str,
    target: str,
    headers: RawHeaders,
    *,
    provenance: Sequence[bytes],
    chunked: bool,
    upgrade: bool,
) -> bytes:
    """The head to send to the notebook; `provenance` are the lines that tell of the client."""
    lines = [b"%s %s HTTP/1.1" % (method.encode(), target.encode("utf-8", "surrogateescape"))]
    _pass_on(headers, _NOT_FROM_CLIENTS, lines)
    lines.extend(provenance)
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
    if upgrade:
        lines += (b"Connection: Upgrade", b"Upgrade: websocket")
    return _joined(lines)


def response_head(
    status: int,
    reason: str,
    headers: RawHeaders,
    *,
    chunked: bool = False,
    connection: bytes = b"",
    upgrade: bool = False,
    strict_transport: bytes = b"",
) -> bytes:
    """The head to send to the client; `connection` is the value of that field, empty for none.

    `strict_transport`, where it is not empty, is said in place of what the notebook says.
    """
    lines = [b"HTTP/1.1 %d %s" % (status, reason.encode("utf-8", "surrogateescape"))]
    if strict_transport:
        _pass_on(headers, _NOT_FROM_STRICT_NOTEBOOKS, lines)
        lines.append(b"Strict-Transport-Security: " + strict_transport)
    else:
        _pass_on(headers, _NOT_FROM_NOTEBOOKS, lines)
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
    if connection:
        lines.append(b"Connection: " + connection)
    if upgrade:
        lines.append(b"Upgrade: websocket")
    return _joined(lines)


@lru_cache(maxsize=1024)
def provenance(remote: str, public_host: str) -> tuple[bytes, ...]:
    """What we say of the client, in the fields that notebooks read; every engine says the same."""
    return (
        f"X-Forwarded-For: {remote}".encode(),
        f"X-Forwarded-Host: {public_host}".encode(),
        b"X-Forwarded-Proto: https",
        f"X-Real-IP: {remote}".encode(),
    )


def without_domain(cookie: bytes) -> bytes:
    """A Set-Cookie value without `Domain`: a session sets cookies for its own host alone."""
    if b"domain" not in cookie.lower():
        return cookie
    pair, *attributes = cookie.split(b";")
    kept = [a for a in attributes if a.partition(b"=")[0].strip().lower() != b"domain"]
    return b";".join([pair, *kept])


def _pass_on(headers: RawHeaders, dropped: frozenset[bytes], lines: list[bytes]) -> None:
    """Add to `lines` the fields that go on, without those `dropped` or named by `Connection`."""
    first = len(lines)
    named: set[bytes] = set()
    for name, value in headers:
        key = name.lower()
        if key in dropped or key.startswith(b"x-forwarded-"):
            if key == b"connection":
                named.update(token.strip() for token in value.lower().split(b","))
        elif key == b"set-cookie":
            lines.append(name + b": " + without_domain(value))
        else:
            lines.append(name + b": " + value)
    named -= dropped
    named -= _KEPT
    if named:
        fields = lines[first:]
        lines[first:] = [field for field in fields if _name(field) not in named]


def _name(field: bytes) -> bytes:
    return field.partition(b":")[0].lower()


def _joined(lines: list[bytes]) -> bytes:
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    # aiohttp's parser is lenient towards servers: whatever came through it, a line stays one line.
    ends = len(lines) + 1
    if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head:
        raise BadHeadError
    return head
