"""Limits and removed fields of HTTP heads, the same for every engine."""

from __future__ import annotations

from collections.abc import Iterable

RawHeaders = Iterable[tuple[bytes, bytes]]

# Bytes of a request's whole head that are forwarded. Tornado, Jupyter's server, accepts 64 KiB with the
# proxy's fields, and above that closes without an answer (`max_header_size`, tornado.http1connection).
LONGEST_HEAD = 60 * 1024
# Bytes of one line that are read, so that a longer one can be answered; with HAProxy, of a whole head.
LONGEST_READ = 128 * 1024
MOST_FIELDS = 256

# Fields by which a notebook would affect more than its own host and session, in a browser or a server in
# front: docs/security.md has the reason for each. Every engine removes them.
REACHING_BEYOND = (
    "Alt-Svc",
    "Clear-Site-Data",
    "NEL",
    "Origin-Agent-Cluster",
    "Report-To",
    "Reporting-Endpoints",
    "Strict-Transport-Security",
    "X-Accel-Redirect",
    "X-Sendfile",
)


def head_size(method: str, target: str, headers: RawHeaders) -> int:
    """Count the bytes of a request's head as it came over HTTP/1.1."""
    fields = sum(len(name) + len(value) + 4 for name, value in headers)
    return len(method) + len(target) + len("  HTTP/1.1\r\n\r\n") + fields
