"""Build the heads of forwarded messages, byte for byte except hop-by-hop fields.

Field names and values are forwarded as they came. Removed are the hop-by-hop fields (RFC 9110,
7.6.1), those that a `Connection` field names, and the fields that only the service may set about the client.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from rps_proxy.http.heads import REACHING_BEYOND, RawHeaders

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
# The engine answers `Expect` itself. X-Forwarded-* are removed too, see _pass_on.
_NOT_FROM_CLIENTS = _HOP_BY_HOP | {b"expect", b"forwarded", b"x-real-ip", b"x-rps-caller"}
_NOT_FROM_NOTEBOOKS = _HOP_BY_HOP | {name.lower().encode() for name in REACHING_BEYOND}
# Fields that a `Connection` field cannot remove, since without them the message has another meaning.
_KEPT = frozenset({b"host", b"content-length", b"set-cookie", b"close", b""})


class BadHeadError(Exception):
    """A field of the head contains a line end."""


def request_head(
    method: str,
    target: str,
    headers: RawHeaders,
    *,
    provenance: Sequence[bytes],
    chunked: bool,
    upgrade: bool,
) -> bytes:
    """Build the head for the notebook; `provenance` holds the client's fields."""
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
    """Build the head for the client; `connection` is that field's value or empty.

    `strict_transport`, where it is not empty, is our Strict-Transport-Security.
    """
    lines = [b"HTTP/1.1 %d %s" % (status, reason.encode("utf-8", "surrogateescape"))]
    _pass_on(headers, _NOT_FROM_NOTEBOOKS, lines)
    if strict_transport:
        lines.append(b"Strict-Transport-Security: " + strict_transport)
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
    if connection:
        lines.append(b"Connection: " + connection)
    if upgrade:
        lines.append(b"Upgrade: websocket")
    return _joined(lines)


@lru_cache(maxsize=1024)
def provenance(remote: str, public_host: str, scheme: str = "https") -> tuple[bytes, ...]:
    """Build the fields that name the client; they are the same in every engine."""
    return (
        f"X-Forwarded-For: {remote}".encode(),
        f"X-Forwarded-Host: {public_host}".encode(),
        f"X-Forwarded-Proto: {scheme}".encode(),
        f"X-Real-IP: {remote}".encode(),
    )


def without_domain(cookie: bytes) -> bytes:
    """Return a Set-Cookie value without `Domain`: cookies stay on the session's host."""
    if b"domain" not in cookie.lower():
        return cookie
    pair, *attributes = cookie.split(b";")
    kept = [a for a in attributes if a.partition(b"=")[0].strip().lower() != b"domain"]
    return b";".join([pair, *kept])


def _pass_on(headers: RawHeaders, dropped: frozenset[bytes], lines: list[bytes]) -> None:
    """Add the fields to `lines`, without those `dropped` or named by `Connection`."""
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
    # aiohttp's parser is lenient towards servers; a line with a line end in it must not become two.
    ends = len(lines) + 1
    if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head:
        raise BadHeadError
    return head
